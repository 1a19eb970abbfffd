"""A KV cache without room for all: what is given up, who waits, who ends."""

from __future__ import annotations

from tests.server.engine.harness import Harness, expected_text, request
from tests.server.engine.scripted_runner import EOG, ScriptedRunner


def test_preempted_sequences_finish_with_the_right_text() -> None:
    harness = Harness(ScriptedRunner(n_slots=3, n_cells=100))
    crowd = [request([first, *range(20)], max_tokens=40, ignore_eos=True) for first in range(3)]
    harness.run(crowd)
    assert harness.engine.stats.preemptions_total > 0
    for asked in crowd:
        assert harness.outcomes[asked.id].text[0] == expected_text(asked, 256)


def test_room_made_for_requests_that_were_then_cancelled_is_really_made() -> None:
    harness = Harness(ScriptedRunner(n_slots=3, n_cells=60))
    first, second, third = (request([token, *range(20)], max_tokens=2) for token in range(3))
    harness.run([first, second])
    harness.submit(third)
    harness.step()
    assert harness.engine._scheduler._memory, "the cache was full, so a slot was given up"
    harness.engine.cancel(third.id)
    harness.run()
    crowd = [request([token, *range(10)], max_tokens=2) for token in range(3)]
    harness.run(crowd)
    for asked in crowd:
        assert harness.outcomes[asked.id].text.get(0, "") == expected_text(asked, 256)


def test_one_that_fills_the_cache_alone_ends_with_length() -> None:
    harness = Harness(ScriptedRunner(n_slots=2, n_cells=50))
    asked = request(range(20), max_tokens=100, ignore_eos=True)
    harness.run([asked])
    outcome = harness.outcomes[asked.id]
    assert outcome.ends[0].finish_reason == "length"
    assert outcome.finish.usage.completion_tokens == 50 - 20 + 1


def test_a_prompt_without_room_in_the_cache_is_an_error() -> None:
    harness = Harness(ScriptedRunner(n_slots=2, n_cells=50))
    asked = request([token % EOG for token in range(60)], max_tokens=1)
    harness.run([asked])
    failure = harness.outcomes[asked.id].failure
    assert (failure.kind, failure.code) == ("invalid_request", "context_length_exceeded")
