"""Random schedules of submissions, forks, cancellations, failures, drafts, full caches; checked at each step.

`CORRAL_TEST_SCHEDULES` is how many of them, `CORRAL_TEST_SCHEDULES_FROM` the first one's seed.
"""

from __future__ import annotations

import os
import random

import pytest

from server.engine.engine import EngineConfig
from server.engine.prefix import prefix_cache
from server.engine.speculation.speculation import Speculation
from tests.server.engine.harness import Harness, expected_text, request
from tests.server.engine.proposers import Oracle
from tests.server.engine.random_schedule import Schedule, random_request
from tests.server.engine.scripted_runner import EOG, ScriptedRunner

N_SCHEDULES = int(os.environ.get("CORRAL_TEST_SCHEDULES", "300"))
FIRST = int(os.environ.get("CORRAL_TEST_SCHEDULES_FROM", "0"))
AT_ONCE = 5
"""A test plays so few that a busy machine finishes them within a test's time."""
N_EACH_RUN = N_SCHEDULES if "CORRAL_TEST_SCHEDULES" in os.environ else 100
"""The schedules behind these are played by `make thorough`."""


@pytest.fixture(autouse=True)
def prefixes_of_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefixes are kept and restored here that are too short for it in earnest."""
    monkeypatch.setattr(prefix_cache, "RESTORE_TOKENS_MIN", 8)
    monkeypatch.setattr(prefix_cache, "SAVE_TOKENS_MIN", 16)
    monkeypatch.setattr(prefix_cache, "HOT_TOKENS", 40)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(FIRST + first, marks=() if first < N_EACH_RUN else pytest.mark.thorough)
        for first in range(0, N_SCHEDULES, AT_ONCE)
    ],
)
def test_every_request_ends_once_and_right_whatever_happens(first: int) -> None:
    for seed in range(first, min(first + AT_ONCE, FIRST + N_SCHEDULES)):
        try:
            Schedule(seed).play()
        except Exception as error:
            error.add_note(f"the schedule with seed {seed}")
            raise


@pytest.mark.parametrize("seed", range(12))
def test_a_crowd_gets_what_each_would_get_alone(seed: int) -> None:
    chance = random.Random(1000 + seed)
    prefixes = [[chance.randrange(EOG) for _ in range(80)] for _ in range(2)]
    crowd = [random_request(chance, prefixes, 256) for _ in range(12)]
    crowd = [asked for asked in crowd if asked.timeout_s is None]
    together = Harness(ScriptedRunner(n_slots=4), speculation=Speculation(Oracle(0.7, chance)))
    together.run(crowd)
    for asked in crowd:
        alone = Harness(ScriptedRunner(n_slots=1))
        alone.run([asked])
        assert together.outcomes[asked.id].text == alone.outcomes[asked.id].text
        assert together.outcomes[asked.id].ends == alone.outcomes[asked.id].ends


@pytest.mark.parametrize("chunk", [1, 3, 17, 64])
def test_chunked_prompts_give_what_whole_ones_give(chunk: int) -> None:
    chance = random.Random(chunk)
    prompts = [[chance.randrange(EOG) for _ in range(length)] for length in (1, 2, 50, 64, 65, 100)]
    config = EngineConfig(prefill_chunk_tokens=chunk, prefill_tokens_alone=chunk)
    for prompt in prompts:
        asked = request(prompt)
        chunked = Harness(ScriptedRunner(), config)
        chunked.run([asked])
        assert chunked.outcomes[asked.id].text.get(0, "") == expected_text(asked, 256)
        longest = max(batch.n_tokens for batch in chunked.runner.batches)
        assert longest <= chunk
