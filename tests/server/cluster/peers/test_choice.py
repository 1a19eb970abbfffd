"""Who gets a request: loads are even enough, keys stay where they are, and nobody gets more than it takes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from server.cluster.peers.choice import SPREAD, Load, Ring, bound, choose

KEYS = [f"key {number}" for number in range(2000)]


def idle(names: list[str], most: int = 10) -> dict[str, Load]:
    return {name: Load(0, most) for name in names}


def homes(names: list[str]) -> dict[str, str | None]:
    """The replica of each key while nothing runs."""
    ring, loads = Ring(names), idle(names)
    return {key: choose(ring, key, loads) for key in KEYS}


@pytest.mark.parametrize("n", [2, 3, 8])
def test_keys_are_spread_evenly(n: int) -> None:
    counts = Counter(homes([f"replica {number}" for number in range(n)]).values())
    assert len(counts) == n
    assert max(counts.values()) < 1.35 * len(KEYS) / n


@pytest.mark.parametrize("n", [2, 5])
def test_a_replica_that_comes_takes_its_share_alone(n: int) -> None:
    names = [f"replica {number}" for number in range(n)]
    before, after = homes(names), homes([*names, "new"])
    moved = [key for key in KEYS if before[key] != after[key]]
    assert all(after[key] == "new" for key in moved)
    assert 0.5 * len(KEYS) / (n + 1) < len(moved) < 1.5 * len(KEYS) / (n + 1)


def test_the_order_of_names_does_not_matter() -> None:
    assert homes(["a", "b", "c"]) == homes(["c", "a", "b"])


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_holds_whatever_comes(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"r{number}" for number in range(chance.randint(1, 6))]
    ring, counts = Ring(names), Counter(dict.fromkeys(names, 0))
    most = {name: chance.randint(1, 12) for name in names}
    running: list[str] = []
    for _ in range(3000):
        able = [name for name in names if chance.random() < 0.95]
        loads = {name: Load(counts[name], most[name]) for name in able}
        key = chance.choice(["", "hot", chance.choice(KEYS)])
        name = choose(ring, key, loads) if loads else None
        if name is None:
            assert all(load.n >= load.most for load in loads.values())
        else:
            assert counts[name] < most[name]
            fit = {each: load for each, load in loads.items() if load.n < load.most}
            is_least = counts[name] == min(load.n for load in fit.values())
            assert counts[name] < max(bound(loads), most[name] // 2) or is_least
            counts[name] += 1
            running.append(name)
        while running and chance.random() < 0.5:
            counts[running.pop(chance.randrange(len(running)))] -= 1


def test_a_hot_key_spills_over_in_the_order_of_the_ring() -> None:
    names = ["a", "b", "c", "d"]
    ring, counts = Ring(names), Counter(dict.fromkeys(names, 0))
    for total in range(24):
        name = choose(ring, "hot", {each: Load(counts[each], 8) for each in names})
        assert name is not None
        counts[name] += 1
        assert max(counts.values()) <= max(4, SPREAD * (total + 1) / len(names) + 1)
    first, *_, last = ring.order("hot")
    assert counts[first] > counts[last]


def test_a_key_stays_while_its_replica_is_less_than_half_full() -> None:
    ring = Ring(["a", "b"])
    first, second = ring.order("key")
    for n, most, chosen in ((5, 12, first), (6, 12, second), (0, 1, first)):
        assert choose(ring, "key", {first: Load(n, most), second: Load(0, 12)}) == chosen


def test_without_a_key_the_least_loaded_gets_it() -> None:
    ring = Ring(["a", "b", "c"])
    assert choose(ring, "", {"a": Load(2, 9), "b": Load(1, 9), "c": Load(3, 9)}) == "b"
    assert choose(ring, "", {"a": Load(2, 9), "b": Load(1, 1)}) == "a"
    assert choose(ring, "", {}) is None
