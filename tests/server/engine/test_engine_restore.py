"""Kept prefixes under the engine: the reports of one that can be restored and of one that can't."""

from __future__ import annotations

import pytest

from server.engine.batch import Save
from server.engine.prefix import prefix_cache
from tests.server.engine.harness import Harness, expected_text, request
from tests.server.engine.scripted_runner import EOG, ScriptedRunner
from tests.server.engine.scripted_store import ScriptedStore

KEPT = [token % EOG for token in range(40)]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """With a kept prefix, `KEPT`."""
    monkeypatch.setattr(prefix_cache, "RESTORE_TOKENS_MIN", 8)
    runner = ScriptedRunner(n_slots=3)
    runner.held[0] = KEPT
    runner.save(Save(0, KEPT, ()))
    runner.held[0] = []
    return Harness(runner, prefixes=ScriptedStore(runner, quick=1.0))


def test_a_restored_prefix_is_reported(harness: Harness) -> None:
    asked = request([*KEPT, 3], max_tokens=5)
    harness.run([asked])
    outcome = harness.outcomes[asked.id]
    assert outcome.started is not None
    assert outcome.started.cached_tokens == outcome.finish.usage.cached_tokens == 40
    assert harness.engine.stats.cached_tokens_total == 40
    assert outcome.text.get(0, "") == expected_text(asked, 256)


def test_one_that_could_not_be_restored_was_not_cached(harness: Harness) -> None:
    harness.runner.damaged = set(harness.runner.saved)
    asked = request([*KEPT, 3], n=3, max_tokens=5, temperature=1.0, seed=1)
    harness.run([asked])
    outcome = harness.outcomes[asked.id]
    assert outcome.started is not None
    assert outcome.started.cached_tokens == outcome.finish.usage.cached_tokens == 0
    assert harness.engine.stats.cached_tokens_total == 0
    assert [outcome.text.get(i, "") for i in range(3)] == [expected_text(asked, 256, i) for i in range(3)]
