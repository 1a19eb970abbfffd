"""Random schedules of submissions, cancellations, failures and full caches, checked at each step."""

from __future__ import annotations

import random

import pytest

from server.engine.engine import EngineConfig
from server.engine.events import Failure
from server.engine.request import EngineRequest
from tests.server.engine.harness import Harness, expected_text, expected_tokens, request
from tests.server.engine.scripted_runner import EOG, ScriptedRunner

SEEDS = range(60)


def random_request(chance: random.Random, prefixes: list[list[int]], n_ctx: int) -> EngineRequest:
    start = chance.choice(prefixes)[: chance.randint(0, 80)]
    prompt = [*start, *(chance.randrange(EOG) for _ in range(chance.randint(1, 30)))]
    limit = chance.choice([None, 0, 1, 5, 40])
    return request(
        prompt,
        n=chance.choice([1, 1, 1, 2, 5]),
        max_tokens=limit if limit is None else min(limit, n_ctx - len(prompt)),
        min_tokens=chance.choice([0, 0, 0, 3]),
        temperature=chance.choice([0.0, 1.0]),
        seed=chance.randrange(1000),
        stop=tuple(chance.sample(["ab", "ba.", "stop", "#a", "the end#", "é"], chance.choice([0, 0, 1, 2]))),
        ignore_eos=chance.random() < 0.2,
        cache_prompt=chance.random() < 0.8,
        return_tokens=chance.random() < 0.5,
        echo_text=chance.choice(["", "", "echo: "]),
        timeout_s=chance.choice([None, None, None, 0.05]),
    )


def random_harness(chance: random.Random) -> Harness:
    n_slots = chance.randint(1, 6)
    runner = ScriptedRunner(
        n_slots=n_slots,
        n_ctx=chance.choice([128, 256]),
        n_batch=chance.choice([n_slots + 1, 16, 64]),
        can_trim=chance.random() < 0.7,
        n_cells=chance.choice([None, None, 300]),
    )
    config = EngineConfig(
        queue_size=chance.choice([3, 50]),
        prefill_chunk_tokens=chance.choice([1, 7, 32]),
        prefill_tokens_alone=chance.choice([1, 16, 64]),
        copy_tokens_min=chance.choice([1, 8, 32]),
    )
    return Harness(runner, config)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_request_ends_once_and_right_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    harness = random_harness(chance)
    n_ctx = harness.runner.n_ctx
    prefixes = [[chance.randrange(EOG) for _ in range(80)] for _ in range(3)]
    asked: dict[str, EngineRequest] = {}
    disturbed: set[str] = set()
    for _ in range(chance.randint(20, 120)):
        action = chance.random()
        if action < 0.25:
            new = random_request(chance, prefixes, n_ctx)
            asked[harness.submit(new)] = new
        elif action < 0.30 and asked:
            victim = chance.choice(list(asked))
            disturbed.add(victim)
            harness.engine.cancel(victim)
        elif action < 0.32 and harness.runner.samplers:
            poisoned = chance.choice(list(harness.runner.samplers))
            harness.runner.poisoned.add(poisoned)
            disturbed.add(harness.engine._sequences[poisoned].group.id)
        else:
            harness.step()
    harness.run()
    for name, original in asked.items():
        outcome = harness.outcomes[name]
        assert outcome.terminal is not None, "no terminal event"
        if isinstance(outcome.terminal, Failure):
            allowed = name in disturbed or original.timeout_s is not None
            allowed |= outcome.terminal.kind == "busy" or harness.runner.n_cells is not None
            assert allowed, outcome.terminal
            continue
        check_answer(original, harness, name)


def check_answer(original: EngineRequest, harness: Harness, name: str) -> None:
    outcome = harness.outcomes[name]
    n_ctx = harness.runner.n_ctx
    for index in range(original.n):
        end = outcome.ends[index]
        text = outcome.text.get(index, "")
        full = harness.runner.n_cells is not None and end.finish_reason == "length"
        if original.params.min_tokens == 0:
            whole = expected_text(original, n_ctx, index)
            assert text == whole or (full and whole.startswith(text))
        if original.return_tokens and not full:
            tokens = outcome.tokens.get(index, ())
            assert list(tokens) == expected_tokens(original, n_ctx, index)[: len(tokens)]
        if end.stop is None and not full:
            said = expected_tokens(original, n_ctx, index)
            assert end.finish_reason == ("stop" if said and said[-1] == EOG else "length")
    assert set(outcome.ends) == set(range(original.n))


@pytest.mark.parametrize("seed", range(20))
def test_a_crowd_gets_what_each_would_get_alone(seed: int) -> None:
    chance = random.Random(1000 + seed)
    prefixes = [[chance.randrange(EOG) for _ in range(80)] for _ in range(2)]
    crowd = [random_request(chance, prefixes, 256) for _ in range(12)]
    crowd = [asked for asked in crowd if asked.timeout_s is None]
    together = Harness(ScriptedRunner(n_slots=4))
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
