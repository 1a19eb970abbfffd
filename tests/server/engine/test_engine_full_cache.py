"""A KV cache without room for all: what is given up, who waits, who ends."""

from __future__ import annotations

import pytest

from server.engine.prefix import prefix_cache
from tests.server.engine.harness import Harness, expected_text, request
from tests.server.engine.scripted_runner import EOG, ScriptedRunner
from tests.server.engine.scripted_store import ScriptedStore


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
    assert harness.engine.snapshot().memory, "the cache was full, so a slot was given up"
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


def test_what_is_given_up_for_want_of_room_is_kept_if_it_was_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefix_cache, "SAVE_TOKENS_MIN", 16)
    monkeypatch.setattr(prefix_cache, "RESTORE_TOKENS_MIN", 8)
    runner = ScriptedRunner(n_slots=3, n_cells=100)
    harness = Harness(runner, prefixes=ScriptedStore(runner, quick=1.0))
    shared = [token % EOG for token in range(50)]
    harness.run([request([*shared, first], max_tokens=1) for first in range(2)])
    harness.run([request([8] * 60, max_tokens=30, ignore_eos=True)])
    again = request([*shared, 5], max_tokens=5)
    harness.run([again])
    outcome = harness.outcomes[again.id]
    assert outcome.finish.usage.cached_tokens == 50
    assert outcome.text.get(0, "") == expected_text(again, 256)


def test_a_preempted_sequence_finds_again_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SAVE_TOKENS_MIN": 16, "RESTORE_TOKENS_MIN": 8, "HOT_TOKENS": 24}.items():
        monkeypatch.setattr(prefix_cache, name, value)
    runner = ScriptedRunner(n_slots=2, n_cells=100)
    harness = Harness(runner, prefixes=ScriptedStore(runner, quick=1.0))
    crowd = [request([first, *range(20)], max_tokens=60, ignore_eos=True) for first in range(2)]
    harness.run(crowd)
    assert harness.engine.stats.preemptions_total > 0
    assert harness.engine.stats.cached_tokens_total > 21
    for asked in crowd:
        assert harness.outcomes[asked.id].text[0] == expected_text(asked, 256)
