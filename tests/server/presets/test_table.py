"""The choice of an arm: by shares, the same for the same user, and few change when shares do."""

from __future__ import annotations

from collections import Counter

import pytest

from server.presets.book import PresetBook
from server.presets.table import Preset, PresetTable, Target, decoded

N = 10_000


def preset(*, sticky: bool = True, **shares: float) -> Preset:
    targets = (Target(arm=arm, share=share, model=f"demo:{arm}") for arm, share in shares.items())
    return Preset(name="mix", sticky=sticky, targets=tuple(targets))


def arms(of: Preset, owner: str = "", user: str = "user {}") -> list[str]:
    return [of.target_of(owner, user.format(i), 0.5).arm for i in range(N)]


def test_users_fall_on_arms_by_their_shares() -> None:
    counts = Counter(arms(preset(Q8_0=0.9, Q4_K_M=0.1)))
    assert counts["Q8_0"] == pytest.approx(9_000, abs=N / 100)
    three = Counter(arms(preset(a=0.5, b=0.3, c=0.2)))
    assert [three[arm] / N for arm in "abc"] == pytest.approx([0.5, 0.3, 0.2], abs=0.01)


def test_a_user_stays_with_an_arm_and_keys_have_users_of_their_own() -> None:
    mix = preset(a=0.5, b=0.5)
    assert arms(mix, "key") == arms(mix, "key")
    same = sum(x == y for x, y in zip(arms(mix, "key"), arms(mix, "other"), strict=True))
    assert same == pytest.approx(N / 2, abs=N / 50)
    assert len(set(arms(mix, "key", user=""))) == 1  # a key without users is one user


def test_another_share_moves_only_those_who_must() -> None:
    before, after = arms(preset(a=0.9, b=0.1)), arms(preset(a=0.8, b=0.2))
    moves = Counter(zip(before, after, strict=True))
    assert moves["b", "a"] == 0
    assert moves["a", "b"] == pytest.approx(N / 10, abs=N / 100)
    grown = arms(preset(a=0.45, b=0.05, c=0.5))
    assert {new for old, new in zip(before, grown, strict=True) if old != new} == {"c"}


@pytest.mark.parametrize("mix", [preset(a=0.9, b=0.1), preset(a=0.9, b=0.1, sticky=False)])
def test_those_who_are_nobody_are_spread_evenly(mix: Preset) -> None:
    book = PresetBook(PresetTable({mix.name: mix}))
    owner = "" if mix.sticky else "key"
    drawn = [mix.target_of(owner, "", book.draw()).arm for _ in range(N)]
    assert Counter(drawn)["b"] == pytest.approx(N / 10, abs=10)
    for begin in range(0, N, 100):  # at any time, not only in the end
        assert Counter(drawn[begin : begin + 100])["b"] == pytest.approx(10, abs=3)
    other = Counter(drawn[::2])  # also where every other request asks for something else
    assert other["b"] == pytest.approx(N / 20, abs=10)


def test_what_reads_large_bodies_gets_the_same_table() -> None:
    table = PresetTable({"mix": preset(a=0.9, b=0.1)})
    assert decoded(table.encoded()) == table
    assert PresetTable().encoded() == b""


def test_the_largest_share_stands_for_the_preset() -> None:
    assert preset(a=0.2, b=0.8).main.arm == "b"
