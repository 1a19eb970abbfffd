from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from server.loadtest.exchange import Capture
from server.loadtest.outcome import Outcome, error_text, outcome_of
from server.loadtest.target import Request
from tests.server.loadtest.scripted_server import HEAD, LAST, chunk, event, plain, text_chunk, usage_chunk

TEXTS = ["Hé", " wor", "", "ld"]


def capture_of(pieces: list[bytes], *, error: str | None = None, max_tokens: int | None = 96) -> Capture:
    """Piece i is received at second i + 1."""
    times = [float(i + 1) for i in range(len(pieces))]
    return Capture(
        Request(b"", "label", max_tokens), 0.5, times, pieces, len(pieces) + 1.0, closed=True, error=error
    )


def stream(chunks: list[Any], *, tail: bytes = LAST) -> bytes:
    return HEAD + b"".join(chunk(event(one)) for one in chunks) + tail


WHOLE = stream(
    [*(text_chunk(text) for text in TEXTS), text_chunk("", "stop"), usage_chunk(11, 5, 8), "[DONE]"]
)


def test_a_stream_is_read() -> None:
    outcome = outcome_of(capture_of([WHOLE]))
    assert outcome == Outcome("label", 0.5, 2.0, [1.0] * 3, 96, 11, 8, 5, "stop")
    assert outcome.n_tokens == 5
    assert outcome.first_token_s == 0.5


def test_byte_by_byte_says_the_same_and_times_are_those_of_the_completing_bytes() -> None:
    outcome = outcome_of(capture_of([WHOLE[i : i + 1] for i in range(len(WHOLE))]))
    whole = outcome_of(capture_of([WHOLE]))
    assert replace(outcome, text_times=[], ended_s=0.0) == replace(whole, text_times=[], ended_s=0.0)
    ends = [WHOLE.index(event(text_chunk(text))) + len(event(text_chunk(text))) for text in TEXTS if text]
    assert outcome.text_times == [float(end) for end in ends]
    assert outcome.gaps_s == [float(b - a) for a, b in itertools.pairwise(ends)]


def test_chat_reasoning_and_tool_calls_are_text() -> None:
    chunks = [
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"delta": {"content": "hi"}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        "[DONE]",
    ]
    assert len(outcome_of(capture_of([stream(chunks)])).text_times) == 3


def test_tokens_without_usage() -> None:
    ended_by_length = stream([text_chunk("a"), text_chunk("b"), text_chunk("", "length"), "[DONE]"])
    assert outcome_of(capture_of([ended_by_length])).n_tokens == 96
    assert outcome_of(capture_of([ended_by_length], max_tokens=None)).n_tokens == 2
    stopped = stream([text_chunk("a"), text_chunk("b", "stop"), "[DONE]"])
    assert outcome_of(capture_of([stopped])).n_tokens == 2


def test_timings_are_kept() -> None:
    last = {**text_chunk("", "stop"), "timings": {"draft_n": 9}}
    assert outcome_of(capture_of([stream([text_chunk("a"), last, "[DONE]"])])).timings == {"draft_n": 9}


def test_an_answer_in_one_piece() -> None:
    answer = {**text_chunk("all of it", "stop"), "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    outcome = outcome_of(capture_of([plain("200 OK", answer)]))
    assert (outcome.error, outcome.n_tokens, outcome.n_prompt_tokens) == (None, 4, 3)
    assert outcome.text_times == [2.0]


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 2", "broke off in its headers"),
        (b"garbage\r\n\r\n", "no HTTP/1.1 response"),
        (plain("503 Busy", {"error": {"message": "come back later"}}), "HTTP 503: come back later"),
        (stream([text_chunk("a"), {"error": {"message": "it died"}}]), "it died"),
        (stream([text_chunk("a")]), "without a finish_reason"),
        (stream([text_chunk("a"), text_chunk("", "stop")], tail=b""), "broke off before"),
        (stream([text_chunk("a"), "nonsense"]), "no JSON"),
        (stream([text_chunk("a"), "[1]"]), "no object"),
        (plain("200 OK", [1]), "no JSON object"),
        (plain("200 OK", {"choices": []})[:-2], "broke off before"),
    ],
)
def test_errors(raw: bytes, error: str) -> None:
    outcome = outcome_of(capture_of([raw] if raw else []))
    assert outcome.error is not None
    assert error in outcome.error


def test_the_clients_own_reason_comes_first() -> None:
    assert outcome_of(capture_of([WHOLE[:50]], error="no end after 3 s")).error == "no end after 3 s"
    assert outcome_of(capture_of([], error="Connection refused")).error == "Connection refused"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": "m"}}', "m"),
        (b'{"error": "m"}', "m"),
        (b'{"message": "m"}', "m"),
        (b"<html>m", "<html>m"),
    ],
)
def test_error_forms(body: bytes, text: str) -> None:
    assert error_text(body) == text
