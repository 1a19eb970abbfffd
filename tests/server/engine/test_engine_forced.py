"""Forced tokens in the engine's books: several in one step, up to the end, and the thoughts' close."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from server.engine.answer_plan import AnswerPlan
from server.engine.engine import EngineConfig
from server.engine.events import AnswerForm
from server.engine.request import EngineRequest
from server.engine.scheduling.scheduler import FORCED_MAX
from tests.server.engine.harness import Harness, Outcome, request
from tests.server.engine.scripted_runner import EOG, PIECES, ScriptedGuide, ScriptedRunner

EVERY = ScriptedGuide({token: [1, 2, 3] for token in range(EOG)})
"""Three tokens are forced after each that is chosen."""


def guided(guide: ScriptedGuide, **options: Any) -> EngineRequest:
    return replace(request(return_tokens=True, ignore_eos=True, **options), guide=guide)


def answer(asked: EngineRequest, runner: ScriptedRunner | None = None) -> tuple[Outcome, Harness]:
    harness = Harness(runner)
    harness.run([asked])
    return harness.outcomes[asked.id], harness


def test_forced_tokens_take_no_steps() -> None:
    outcome, harness = answer(guided(EVERY, max_tokens=40))
    tokens = outcome.tokens[0]
    assert len(tokens) == 40
    assert all(tokens[at + 1 : at + 4] == (1, 2, 3) for at in range(0, 40, 4))
    assert len(harness.runner.batches) == 10
    assert outcome.finish.usage.completion_tokens == 40
    assert outcome.finish.timings.prompt_n == 3, "forced tokens are no prompt"
    assert outcome.text[0].startswith(PIECES[tokens[0]].decode() if tokens[0] < 11 else outcome.text[0][:1])


def test_they_are_the_same_one_by_one() -> None:
    at_once, _ = answer(guided(EVERY, max_tokens=40))
    one_by_one, harness = answer(guided(EVERY, max_tokens=40, n_probs=1))
    assert at_once.tokens == one_by_one.tokens
    assert at_once.text == one_by_one.text
    assert len(harness.runner.batches) == 40
    assert len(one_by_one.logprobs[0]) == 40


@pytest.mark.parametrize("max_tokens", range(1, 9))
def test_the_limit_cuts_what_is_forced(max_tokens: int) -> None:
    outcome, _ = answer(guided(EVERY, max_tokens=max_tokens))
    assert len(outcome.tokens[0]) == max_tokens
    assert outcome.ends[0].finish_reason == "length"


def test_a_guide_that_is_over_ends_the_answer() -> None:
    guide = ScriptedGuide({token: [1, 2, 10] for token in range(EOG)}, last=10)
    outcome, _ = answer(guided(guide, max_tokens=40))
    assert outcome.tokens[0][1:] == (1, 2, 10)
    assert outcome.ends[0].finish_reason == "stop", "although the end token is banned"
    exact, _ = answer(guided(guide, max_tokens=4))
    assert exact.ends[0].finish_reason == "stop"
    cut, _ = answer(guided(guide, max_tokens=3))
    assert cut.ends[0].finish_reason == "length"


def test_a_forced_end_token_ends_the_answer() -> None:
    outcome, _ = answer(guided(ScriptedGuide({token: [1, EOG, 2] for token in range(EOG)})))
    assert outcome.ends[0].finish_reason == "stop"
    assert outcome.tokens[0][1:] == (1,)


def test_a_stop_string_within_forced_tokens_cuts_there() -> None:
    outcome, _ = answer(guided(EVERY, stop=("bc",), max_tokens=30))
    assert outcome.ends[0].stop == "bc"
    assert "bc" not in outcome.text[0]
    assert outcome.finish.usage.completion_tokens == len(outcome.tokens[0])


@pytest.mark.parametrize("n_forced", [FORCED_MAX - 1, FORCED_MAX, FORCED_MAX + 1, 100])
@pytest.mark.parametrize("n_batch", [5, 24, 64])
def test_long_runs_beside_others(n_forced: int, n_batch: int) -> None:
    """A batch has room for all, and nobody's tokens change."""
    long = ScriptedGuide({token: [1] * n_forced for token in range(EOG)})
    asks = [guided(long, max_tokens=180), request(max_tokens=30, ignore_eos=True, return_tokens=True), *(
        guided(EVERY, prompt=[4, number], max_tokens=50) for number in range(4)
    )]  # fmt: skip
    harness = Harness(ScriptedRunner(n_batch=n_batch), EngineConfig(prefill_chunk_tokens=16))
    harness.run(asks)
    for ask in asks:
        alone, _ = answer(replace(ask, id=f"{ask.id} alone"), ScriptedRunner())
        assert harness.outcomes[ask.id].tokens == alone.tokens


def test_preemption_amid_forced_tokens() -> None:
    asks = [guided(EVERY, prompt=[4, number], max_tokens=40) for number in range(4)]
    harness = Harness(ScriptedRunner(n_cells=90))
    harness.run(asks)
    assert harness.engine.stats.preemptions_total > 0
    for ask in asks:
        alone, _ = answer(replace(ask, id=f"{ask.id} alone"))
        assert harness.outcomes[ask.id].tokens == alone.tokens


def thinking(budget: int | None, **options: Any) -> EngineRequest:
    """Thoughts that end with "stop" (which may not come by itself), closed by it and a newline."""
    plan = AnswerPlan(
        thoughts=("###", "stop"),
        thinks=True,
        budget_tokens=budget,
        closing_tokens=(PIECES.index(b"stop"), PIECES.index(b"\n")),
    )
    form = AnswerForm(thoughts=("###", "stop"), thinks=True)
    return replace(
        request(ignore_eos=True, return_tokens=True, max_tokens=30, **options), plan=plan, form=form
    )


@pytest.mark.parametrize("n_probs", [None, 0])
@pytest.mark.parametrize("budget", [0, 1, 4])
def test_thoughts_end_at_their_budget_for_each_choice(budget: int, n_probs: int | None) -> None:
    asked = thinking(budget, n=2, n_probs=n_probs, temperature=1.0, seed=3)
    outcome, _ = answer(asked)
    n_thoughts = 0
    for index in range(2):
        tokens = outcome.tokens[index]
        at = tokens.index(PIECES.index(b"stop"))
        assert at <= budget + 4, "a character that was begun is finished first"
        assert at < budget or tokens[at + 1] == PIECES.index(b"\n")
        n_thoughts += at + 1
    assert outcome.finish.usage.reasoning_tokens == n_thoughts
    assert outcome.started is not None
    assert outcome.started.form == AnswerForm(thoughts=("###", "stop"), thinks=True)


def test_stop_strings_do_not_count_within_thoughts() -> None:
    asked = thinking(6, stop=("a", "b", "c", "d", "e", "f", "g", "h", " ", "."))
    outcome, _ = answer(asked)
    assert "stop" in outcome.text[0]


def test_marks_without_text_are_spelled() -> None:
    class Hidden(ScriptedRunner):
        def piece(self, token: int) -> bytes:
            return b"" if token == 2 else super().piece(token)

        def spelling(self, token: int) -> bytes:
            return b"<mark>" if token == 2 else super().spelling(token)

    shown, _ = answer(replace(guided(EVERY, max_tokens=8), spelled_tokens=frozenset([2])), Hidden())
    assert shown.text[0].count("<mark>") >= 2
    hidden, _ = answer(guided(EVERY, max_tokens=8), Hidden())
    assert "<mark>" not in hidden.text[0]


@pytest.mark.parametrize("plan", [AnswerPlan(), AnswerPlan(call_marks=("stop",))])
def test_a_stop_string_that_is_a_mark_of_calls_ends_no_answer(plan: AnswerPlan) -> None:
    every = ScriptedGuide({token: [PIECES.index(b"stop")] for token in range(EOG)})
    asked = replace(guided(every, max_tokens=30), plan=plan)
    asked = replace(asked, params=msgspec.structs.replace(asked.params, stop=("stop",)))
    outcome, _ = answer(asked)
    assert ("stop" in outcome.text[0]) == bool(plan.call_marks)
    assert (len(outcome.tokens[0]) == 30) == bool(plan.call_marks)
