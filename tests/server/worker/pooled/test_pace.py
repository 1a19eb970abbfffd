"""Steps are as long as they may be, and who gives way leaves gaps between its turns."""

from __future__ import annotations

import pytest

from server.worker.pooled.pace import FAIR_S, LEAST_SHORT_TOKENS, LEAST_TOKENS, Pace, Turn

TOKEN_S = 0.0002


def paced(token_s: float = TOKEN_S, n_step_tokens: int = 512) -> Pace:
    """A pace that has learnt what a token takes, in a step that ended at 100."""
    pace = Pace(n_step_tokens)
    pace.took(pace.turn(99.0, gives_way=False), 512, 512 * token_s, 100.0)
    return pace


def test_nothing_known_is_a_whole_step_and_a_short_one_for_who_gives_way() -> None:
    pace = Pace(512)
    assert pace.turn(1.0, gives_way=False) == Turn(512, gives_way=False, idle=False)
    assert pace.turn(1.0, gives_way=True) == Turn(LEAST_SHORT_TOKENS, gives_way=True, idle=False)


@pytest.mark.parametrize(
    ("token_s", "whole", "short"),
    [(1e-6, 512, 512), (0.0002, 500, 20), (0.001, 100, 16), (1.0, LEAST_TOKENS, LEAST_SHORT_TOKENS)],
)
def test_steps_take_their_time(token_s: float, whole: int, short: int) -> None:
    pace = paced(token_s)
    assert pace.turn(101.0, gives_way=False).room == pytest.approx(whole, abs=1)
    assert pace.turn(101.0, gives_way=True).room == pytest.approx(short, abs=1)


def test_a_small_context_takes_no_more() -> None:
    assert paced(n_step_tokens=8).turn(101.0, gives_way=True).room == 8


def test_all_turns_but_one_in_some_seconds_are_idle() -> None:
    pace = paced()
    assert pace.turn(100.0 + 0.9 * FAIR_S, gives_way=True).idle
    turn = pace.turn(100.0 + FAIR_S, gives_way=True)
    assert not turn.idle
    pace.took(turn, 20, 0.004, 102.5)
    assert pace.turn(102.5 + 0.9 * FAIR_S, gives_way=True).idle
    assert not pace.turn(102.5 + FAIR_S, gives_way=True).idle
    assert not pace.turn(102.5, gives_way=False).idle


def test_after_a_long_text_turns_are_rarer() -> None:
    pace = paced()
    pace.took(pace.turn(102.0, gives_way=True), 500, 0.1, 103.0)
    assert pace.turn(122.0, gives_way=True).idle
    assert not pace.turn(123.0, gives_way=True).idle


def test_idle_steps_teach_nothing() -> None:
    pace = paced()
    idle = pace.turn(100.5, gives_way=True)
    assert idle.idle
    pace.took(idle, 10, 5.0, 105.5)
    assert pace.turn(105.5, gives_way=False).room == pytest.approx(500, abs=1)
    assert not pace.turn(105.5, gives_way=True).idle
