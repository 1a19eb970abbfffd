"""Logprobs of generated tokens and of prompts: which events hold them, and when."""

from __future__ import annotations

import pytest

from server.engine.engine import EngineConfig
from server.engine.events import ChoiceEnd, Delta, Event, Finish, PromptScored, Started
from server.engine.request import EngineRequest
from server.engine.speculation.speculation import Speculation
from tests.server.engine.harness import Harness, expected_text, expected_tokens, request
from tests.server.engine.proposers import Oracle
from tests.server.engine.reference import expected_answer, expected_logprobs, expected_scores
from tests.server.engine.scripted_runner import EOG, PIECES, ScriptedRunner


def events_of(harness: Harness, asked: EngineRequest) -> list[Event]:
    harness.submit(asked)
    events: list[Event] = []
    while harness.engine.has_work:
        events += harness.step()
    return events


def one_that_ends(**asked_for: object) -> EngineRequest:
    """A request whose answer ends by itself after a few tokens."""
    for first in range(EOG):
        for second in range(EOG):
            said = expected_tokens(request([first, second]), 256)
            if said[-1] == EOG and 3 < len(said) < 12:
                return request([first, second], **asked_for)  # type: ignore[arg-type]
    raise AssertionError("the scripted model never does that")


# --- prompts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [1, 3, 64])
@pytest.mark.parametrize("max_tokens", [0, 1, 5])
def test_the_scores_come_once_after_started_before_any_token(max_tokens: int, alone: int) -> None:
    harness = Harness(config=EngineConfig(prefill_tokens_alone=alone))
    asked = request(range(8), max_tokens=max_tokens, score_prompt=True, n_probs=1, ignore_eos=True)
    events = events_of(harness, asked)
    assert isinstance(events[0], Started)
    scored = events[1]
    assert isinstance(scored, PromptScored)
    assert scored.logprobs == tuple(expected_scores(list(range(8))))
    assert sum(isinstance(event, PromptScored) for event in events) == 1
    assert sum(event.n_tokens for event in events if isinstance(event, Delta)) == max_tokens
    assert isinstance(events[-1], Finish)
    assert events[-1].usage.completion_tokens == max_tokens


def test_scoring_alone_computes_the_prompt_and_samples_nothing() -> None:
    harness = Harness()
    asked = request(range(8), max_tokens=0, score_prompt=True)
    events = events_of(harness, asked)
    assert [type(event) for event in events] == [Started, PromptScored, ChoiceEnd, Finish]
    assert isinstance(events[2], ChoiceEnd)
    assert events[2].finish_reason == "length"
    assert [entry.n_outputs for batch in harness.runner.batches for entry in batch.entries] == [0]
    finish = harness.outcomes[asked.id].finish
    assert (finish.usage.completion_tokens, finish.timings.prompt_n) == (0, 8)


def test_a_prompt_of_one_token_has_one_score_without_a_logprob() -> None:
    harness = Harness()
    asked = request([3], max_tokens=0, score_prompt=True)
    harness.run([asked])
    assert harness.outcomes[asked.id].prompt_logprobs == tuple(expected_scores([3]))


def test_a_cached_prompt_is_scored_anew_and_its_cache_stays_of_use() -> None:
    harness = Harness()
    prompt = [token % EOG for token in range(60)]
    harness.run([request(prompt, max_tokens=1)])
    scored = request(prompt, max_tokens=0, score_prompt=True)
    harness.run([scored])
    outcome = harness.outcomes[scored.id]
    assert outcome.finish.usage.cached_tokens == 0
    assert outcome.prompt_logprobs == tuple(expected_scores(prompt))
    again = request(prompt, max_tokens=1)
    harness.run([again])
    assert harness.outcomes[again.id].finish.usage.cached_tokens == 59


@pytest.mark.parametrize("max_tokens", [0, 4])
def test_choices_of_a_scored_prompt_begin_after_the_scores(max_tokens: int) -> None:
    prompt = [token % EOG for token in range(20)]
    harness = Harness(config=EngineConfig(prefill_tokens_alone=7))
    harness.run([request(prompt, max_tokens=1)])
    asked = request(
        prompt, n=3, max_tokens=max_tokens, score_prompt=True, echo_text="> ", seed=4, temperature=1.0
    )
    harness.run([asked])
    outcome = harness.outcomes[asked.id]
    assert outcome.prompt_logprobs == tuple(expected_scores(prompt))
    assert [outcome.text[i] for i in range(3)] == [expected_text(asked, 256, i) for i in range(3)]
    assert len(outcome.ends) == 3


def test_a_scored_prompt_that_was_preempted_is_scored_whole() -> None:
    harness = Harness(ScriptedRunner(n_slots=2, n_cells=60), EngineConfig(prefill_chunk_tokens=4))
    running = request(range(20), max_tokens=30, ignore_eos=True)
    harness.submit(running)
    for _ in range(5):
        harness.step()
    prompt = [token % EOG for token in range(40, 75)]
    scored = request(prompt, max_tokens=2, score_prompt=True, ignore_eos=True)
    harness.run([scored])
    assert harness.engine.stats.preemptions_total == 1
    n_scored = sum(len(e.tokens) for b in harness.runner.batches for e in b.entries if e.targets is not None)
    assert n_scored > len(prompt), "it was in the middle of it"
    assert harness.outcomes[scored.id].prompt_logprobs == tuple(expected_scores(prompt))
    assert harness.outcomes[scored.id].text[0] == expected_text(scored, 256)
    assert harness.outcomes[running.id].text[0] == expected_text(running, 256)


def test_an_error_in_a_scored_prompt_ends_its_request() -> None:
    harness = Harness(config=EngineConfig(prefill_tokens_alone=4))
    asked = request(range(12), n=2, max_tokens=0, score_prompt=True)
    harness.submit(asked)
    harness.step()
    harness.runner.poisoned.add(min(harness.runner.samplers))
    harness.run()
    assert harness.outcomes[asked.id].failure.kind == "server_error"
    assert harness.outcomes[asked.id].prompt_logprobs is None


# --- generated tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("return_tokens", [True, False])
@pytest.mark.parametrize("speculation", [True, False])
def test_each_told_token_has_its_logprob(return_tokens: bool, speculation: bool) -> None:
    asked = request([0, 1, 2], max_tokens=40, ignore_eos=True, n_probs=3, return_tokens=return_tokens)
    harness = Harness(speculation=Speculation(Oracle(0.6)) if speculation else None)
    deltas = [event for event in events_of(harness, asked) if isinstance(event, Delta)]
    assert all(len(event.logprobs) == event.n_tokens for event in deltas)
    said = expected_tokens(asked, 256)
    assert [entry for event in deltas for entry in event.logprobs] == expected_logprobs([0, 1, 2], said)
    if return_tokens:
        assert all(len(event.tokens) == event.n_tokens for event in deltas)


@pytest.mark.parametrize("speculation", [True, False])
def test_held_back_text_comes_with_the_logprobs_of_all_its_tokens(speculation: bool) -> None:
    plain = request([0, 1, 2], max_tokens=60, ignore_eos=True)
    text = expected_text(plain, 256)
    held = text[20:26] + "never"
    asked = request([0, 1, 2], max_tokens=60, ignore_eos=True, stop=(held,), n_probs=0)
    harness = Harness(speculation=Speculation(Oracle(0.6)) if speculation else None)
    deltas = [event for event in events_of(harness, asked) if isinstance(event, Delta)]
    assert "".join(event.text for event in deltas) == text
    assert all(event.text or event.n_tokens for event in deltas)
    assert all(len(event.logprobs) == event.n_tokens for event in deltas)
    assert max(event.n_tokens for event in deltas) >= 3
    assert sum(event.n_tokens for event in deltas) == 60


@pytest.mark.parametrize("speculation", [True, False])
@pytest.mark.parametrize(("begin", "end"), [(20, 24), (0, 1), (0, 3), (1, 2), (7, 30), (33, 34)])
@pytest.mark.parametrize("return_tokens", [True, False])
def test_logprobs_end_with_the_text_that_a_stop_string_cut(
    speculation: bool, begin: int, end: int, return_tokens: bool
) -> None:
    plain = request([0, 1, 2], max_tokens=60, ignore_eos=True)
    stop = expected_text(plain, 256)[begin:end]
    asked = request(
        [0, 1, 2], max_tokens=60, ignore_eos=True, stop=(stop,), n_probs=0, return_tokens=return_tokens
    )
    harness = Harness(speculation=Speculation(Oracle(1.0)) if speculation else None)
    events = events_of(harness, asked)
    outcome, answer = harness.outcomes[asked.id], expected_answer(asked, 256)
    assert answer.stop == stop
    assert outcome.text.get(0, "") == answer.text
    assert list(outcome.logprobs.get(0, ())) == expected_logprobs([0, 1, 2], answer.covered(asked))
    assert len(answer.covered(asked)) < len(answer.tokens)
    if return_tokens:
        assert list(outcome.tokens[0]) == answer.tokens
    assert outcome.finish.usage.completion_tokens == len(answer.tokens)
    n_characters = n_told = 0
    for event in events:
        if isinstance(event, Delta):  # no token is told before its text
            n_characters += len(event.text)
            n_told += len(event.logprobs)
            told = b"".join(PIECES[token] for token in answer.tokens[:n_told]).decode("utf-8", "replace")
            assert len(told) <= n_characters


@pytest.mark.parametrize("score_prompt", [True, False])
def test_the_end_token_is_told_only_where_everything_is_scored(score_prompt: bool) -> None:
    asked = one_that_ends(n_probs=0, return_tokens=True, score_prompt=score_prompt)
    harness = Harness()
    harness.run([asked])
    said = expected_tokens(asked, 256)
    told = list(harness.outcomes[asked.id].tokens[0])
    assert told == (said if score_prompt else said[:-1])
    prompt = list(asked.prompt_tokens)
    assert list(harness.outcomes[asked.id].logprobs[0]) == expected_logprobs(prompt, told)
    assert harness.outcomes[asked.id].finish.usage.completion_tokens == len(said)


def test_a_draft_that_holds_the_end_token_ends_there() -> None:
    asked = one_that_ends(n_probs=0)
    harness = Harness(speculation=Speculation(Oracle(1.0)))
    harness.run([asked])
    outcome, said = harness.outcomes[asked.id], expected_tokens(asked, 256)
    assert outcome.text[0] == expected_text(asked, 256)
    assert outcome.ends[0].finish_reason == "stop"
    assert outcome.finish.usage.completion_tokens == len(said)
    assert len(outcome.logprobs[0]) == len(said) - 1
    assert len(harness.runner.batches) == 2
