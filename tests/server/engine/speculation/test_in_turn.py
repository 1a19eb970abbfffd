"""Proposers in turn: each sequence gets the first guess that there is."""

from __future__ import annotations

from server.engine.speculation.in_turn import InTurn
from server.engine.speculation.speculation import Speculation
from tests.server.engine.harness import Harness, expected_text, request
from tests.server.engine.proposers import Oracle


def test_the_second_guesses_where_the_first_has_none() -> None:
    first, second = Oracle(1.0, shorter=0.5), Oracle(1.0, guess_s=0.0001)
    harness = Harness(speculation=InTurn([Speculation(first), Speculation(second, draft_max=2)]))
    asked = [request([start], max_tokens=60) for start in range(3)]
    harness.run(asked)
    for one in asked:
        assert harness.outcomes[one.id].text[0] == expected_text(one, harness.runner.n_ctx)
    assert 0 < second.n_calls < first.n_calls
    assert first.closed == second.closed
    assert len(first.closed) == 3


def test_all_pause_where_there_is_no_room() -> None:
    speculations = [Speculation(Oracle(1.0)), Speculation(Oracle(1.0))]
    assert not InTurn(speculations).withdraw([])
    assert [each._n_paused > 0 for each in speculations] == [True, True]
