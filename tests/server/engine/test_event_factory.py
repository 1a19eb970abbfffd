from __future__ import annotations

import pytest

from models.errors import ContextLengthExceeded, CorralError, DiskFull, WorkerBusy
from server.engine.event_factory import (
    error_failure,
    prompt_scored_event,
    queue_full_failure,
    started_event,
    take_delta,
)
from server.engine.events import TokenLogprob
from server.engine.request import EngineRequest
from server.engine.sequence import Sequence
from server.openai.errors import from_failure
from server.supervisor.process.failures import error_of
from tests.server.engine.harness import group_of, request


def generating(asked: EngineRequest, tokens: list[int]) -> Sequence:
    """A sequence that has got `tokens`, none of them told."""
    sequence = group_of(asked, 100).sequences[0]
    add(sequence, tokens)
    return sequence


def add(sequence: Sequence, tokens: list[int], n_characters: int = 0) -> None:
    """Add tokens that all end within the next `n_characters` of text."""
    sequence.tokens += tokens
    sequence.n_unreported += len(tokens)
    if sequence.group.request.n_probs is not None:
        sequence.logprobs += [logprob(token) for token in tokens]
        sequence.n_fed += n_characters
        sequence.text_ends += [sequence.n_fed] * len(tokens)


def logprob(token: int) -> TokenLogprob:
    return TokenLogprob(token, b"?", -token / 10)


def test_started_says_what_came_and_what_was_there() -> None:
    asked = request([4, 5, 6])
    assert (started_event(asked, 2).prompt_tokens, started_event(asked, 2).cached_tokens) == (3, 2)


def test_a_delta_counts_the_tokens_since_the_last() -> None:
    sequence = generating(request([0]), [7, 8])
    assert (take_delta(sequence, "ab").n_tokens, take_delta(sequence, "").n_tokens) == (2, 0)
    add(sequence, [9])
    told = take_delta(sequence, "c")
    assert (told.text, told.n_tokens, told.tokens, told.logprobs) == ("c", 1, (), ())


@pytest.mark.parametrize("n_probs", [None, 0, 2])
@pytest.mark.parametrize("return_tokens", [True, False])
def test_tokens_and_logprobs_come_one_per_token_if_asked(n_probs: int | None, return_tokens: bool) -> None:
    sequence = generating(request([0, 1], n_probs=n_probs, return_tokens=return_tokens), [7])
    got = [take_delta(sequence, "a")]
    add(sequence, [8, 9])
    got.append(take_delta(sequence, "b"))
    wanted: list[tuple[int, ...]] = [(7,), (8, 9)]
    assert [d.tokens for d in got] == (wanted if return_tokens else [(), ()])
    logprobs = [tuple(logprob(token) for token in tokens) for tokens in wanted]
    assert [d.logprobs for d in got] == ([(), ()] if n_probs is None else logprobs)


def test_a_token_that_is_not_told_has_no_logprob_told() -> None:
    sequence = generating(request([0], n_probs=0), [7, 8])
    sequence.tokens.append(9)
    sequence.logprobs.append(logprob(9))
    assert take_delta(sequence, "a").logprobs == (logprob(7), logprob(8))


def test_tokens_wait_until_their_text_is_shown() -> None:
    sequence = generating(request([0], n_probs=0, return_tokens=True), [7])
    add(sequence, [8], n_characters=5)
    first = take_delta(sequence, "ab")
    assert (first.n_tokens, first.tokens, first.logprobs) == (1, (7,), (logprob(7),))
    last = take_delta(sequence, "cde")
    assert (last.n_tokens, last.tokens, last.logprobs) == (1, (8,), (logprob(8),))


def test_the_first_token_of_a_scored_prompt_has_no_logprob() -> None:
    group = group_of(request([4, 5, 6], score_prompt=True), 100)
    group.scores = [logprob(5), logprob(6)]
    scored = prompt_scored_event(group, lambda token: bytes([token]))
    assert scored.logprobs == (TokenLogprob(4, b"\x04", None), logprob(5), logprob(6))


def test_a_full_queue_is_busy_and_says_when_to_come_back() -> None:
    event = queue_full_failure("x", 12, 3.5)
    assert (event.id, event.kind, event.retry_after_s) == ("x", "busy", 3.5)
    assert "12" in event.message


def test_a_full_contexts_numbers_are_told_where_they_are_known() -> None:
    known = error_failure("x", ContextLengthExceeded("too long", n_prompt=9, n_ctx=8))
    unknown = error_failure("x", ContextLengthExceeded("'input[3]' is too large"))
    assert (known.context, unknown.context) == ((9, 8), None)
    assert unknown.code == "context_length_exceeded"


def test_a_clients_error_names_its_parameter_and_ours_does_not() -> None:
    theirs = error_failure("x", ContextLengthExceeded("too long", param="prompt"))
    assert (theirs.kind, theirs.param, theirs.code) == (
        "invalid_request",
        "prompt",
        "context_length_exceeded",
    )
    ours = error_failure("x", CorralError("no finite logits"))
    assert (ours.kind, ours.message, ours.param) == ("server_error", "no finite logits", None)


def test_a_machine_without_time_is_no_fault_of_the_request() -> None:
    failure = error_failure("x", WorkerBusy("the machine had no time", 5.0))
    assert (failure.kind, failure.retry_after_s) == ("busy", 5.0)


def test_a_full_disk_is_told_without_its_path() -> None:
    full = error_failure("x", DiskFull("no room in /home/me", "no room"))
    assert (full.kind, full.code, full.message) == ("server_error", "disk_full", "no room")
    assert (from_failure(full).status, type(error_of(full))) == (507, DiskFull)
