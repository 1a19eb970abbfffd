from __future__ import annotations

from typing import Any

import msgspec
import pytest

from server.openai.errors import RequestFailed
from server.openai.from_engine import SYSTEM_FINGERPRINT, AnswerStream, AnswerWhole, Heading, Kind, new_id
from server.worker.messages import (
    ChoiceEnd,
    Delta,
    Event,
    Failure,
    Finish,
    Started,
    Timings,
    Usage,
)

STARTED = Started(id="x", prompt_tokens=7, cached_tokens=3)
FINISH = Finish(
    id="x",
    usage=Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=3),
    timings=Timings(queue_ms=0.5, prompt_n=4, prompt_ms=2.0, predicted_n=2, predicted_ms=10.0),
)
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 2,
    "total_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
TIMINGS = {
    "cache_n": 3,
    "prompt_n": 4,
    "prompt_ms": 2.0,
    "prompt_per_token_ms": 0.5,
    "prompt_per_second": 2000.0,
    "predicted_n": 2,
    "predicted_ms": 10.0,
    "predicted_per_token_ms": 5.0,
    "predicted_per_second": 200.0,
    "queue_ms": 0.5,
}


def delta(text: str, index: int = 0, tokens: tuple[int, ...] = ()) -> Delta:
    return Delta(id="x", index=index, text=text, tokens=tokens)


def end(index: int = 0) -> ChoiceEnd:
    return ChoiceEnd(id="x", index=index, finish_reason="stop")


def heading(kind: Kind = "chat", n_choices: int = 1) -> Heading:
    return Heading(kind=kind, id="id", created=5, model="demo", n_choices=n_choices)


def stream(answer: AnswerStream, *events: Event) -> list[dict[str, Any]]:
    return [msgspec.json.decode(chunk) for event in events for chunk in answer.feed(event)]


def choices(chunks: list[dict[str, Any]]) -> list[Any]:
    """(index, delta or text, finish reason) of each choice, in order."""
    return [
        (choice["index"], choice.get("delta", choice.get("text")), choice["finish_reason"])
        for chunk in chunks
        for choice in chunk["choices"]
    ]


def test_chat_stream() -> None:
    chunks = stream(AnswerStream(heading()), STARTED, delta("He"), delta("llo"), end(), FINISH)
    assert choices(chunks) == [
        (0, {"role": "assistant", "content": ""}, None),
        (0, {"content": "He"}, None),
        (0, {"content": "llo"}, None),
        (0, {}, "stop"),
    ]
    for chunk in chunks:
        assert chunk["id"] == "id"
        assert chunk["created"] == 5
        assert chunk["model"] == "demo"
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["system_fingerprint"] == SYSTEM_FINGERPRINT
        assert "usage" not in chunk
    assert [chunk.get("timings") for chunk in chunks] == [None, None, None, TIMINGS]


def test_text_stream() -> None:
    chunks = stream(AnswerStream(heading("text")), STARTED, delta("He"), end(), FINISH)
    assert choices(chunks) == [(0, "He", None), (0, "", "stop")]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert chunks[-1]["timings"] == TIMINGS


def test_include_usage() -> None:
    chunks = stream(AnswerStream(heading(), include_usage=True), STARTED, delta("He"), end(), FINISH)
    assert [chunk["usage"] for chunk in chunks] == [None, None, None, USAGE]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["timings"] == TIMINGS
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


def test_choices_take_turns() -> None:
    answer = AnswerStream(heading(n_choices=2))
    chunks = stream(answer, STARTED, delta("a"), delta("b", 1), end(1), delta("c"), end(0), FINISH)
    assert choices(chunks) == [
        (0, {"role": "assistant", "content": ""}, None),
        (1, {"role": "assistant", "content": ""}, None),
        (0, {"content": "a"}, None),
        (1, {"content": "b"}, None),
        (1, {}, "stop"),
        (0, {"content": "c"}, None),
        (0, {}, "stop"),
    ]


def test_a_role_comes_first_even_without_started() -> None:
    chunks = stream(AnswerStream(heading()), delta("a"), end(), FINISH)
    assert choices(chunks)[0] == (0, {"role": "assistant", "content": ""}, None)
    assert choices(stream(AnswerStream(heading()), end(), FINISH))[0][1]["role"] == "assistant"


def test_empty_deltas_make_no_chunk() -> None:
    answer = AnswerStream(heading())
    assert len(stream(answer, STARTED, delta(""), delta("a"))) == 2


def test_tokens_where_asked_for() -> None:
    answer = AnswerStream(heading(), return_tokens=True)
    chunks = stream(answer, STARTED, delta("", tokens=(5,)), delta("a", tokens=(6, 7)))
    assert [chunk["choices"][0].get("tokens") for chunk in chunks] == [None, [5], [6, 7]]
    silent = stream(AnswerStream(heading()), STARTED, delta("a", tokens=(6,)))
    assert all("tokens" not in chunk["choices"][0] for chunk in silent)


def test_timings_per_token() -> None:
    answer = AnswerStream(heading(), timings_per_token=True)
    chunks = stream(answer, STARTED, delta("a"), delta("b"), end(), FINISH)
    assert [chunk["timings"]["predicted_n"] for chunk in chunks] == [0, 1, 2, 2]
    assert chunks[1]["timings"]["prompt_n"] == 4
    assert chunks[-1]["timings"] == TIMINGS


def test_a_failure_is_raised() -> None:
    failure = Failure(id="x", kind="server_error", message="m")
    with pytest.raises(RequestFailed):
        AnswerStream(heading()).feed(failure)
    with pytest.raises(RequestFailed):
        AnswerWhole(heading()).feed(failure)


def whole(answer: AnswerWhole, *events: Event) -> Any:
    for event in events:
        answer.feed(event)
    return msgspec.json.decode(answer.json())


def test_whole_chat() -> None:
    body = whole(AnswerWhole(heading()), STARTED, delta("He"), delta("llo"), end(), FINISH)
    assert body == {
        "id": "id",
        "object": "chat.completion",
        "created": 5,
        "model": "demo",
        "system_fingerprint": SYSTEM_FINGERPRINT,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": USAGE,
        "timings": TIMINGS,
    }


def test_whole_text_with_several_choices_and_tokens() -> None:
    answer = AnswerWhole(heading("text", 2), return_tokens=True)
    length = ChoiceEnd(id="x", index=1, finish_reason="length")
    body = whole(answer, delta("b", 1, (2,)), delta("a", 0, (1,)), length, end(0), FINISH)
    assert body["object"] == "text_completion"
    assert body["choices"] == [
        {"index": 0, "text": "a", "finish_reason": "stop", "logprobs": None, "tokens": [1]},
        {"index": 1, "text": "b", "finish_reason": "length", "logprobs": None, "tokens": [2]},
    ]


def test_rates_of_nothing_are_zero() -> None:
    nothing = Timings(queue_ms=0, prompt_n=0, prompt_ms=0, predicted_n=0, predicted_ms=0)
    finish = Finish(id="x", usage=Usage(prompt_tokens=0, completion_tokens=0), timings=nothing)
    timings = whole(AnswerWhole(heading()), end(), finish)["timings"]
    assert timings["prompt_per_second"] == timings["predicted_per_second"] == 0.0


def test_ids_are_new_each_time() -> None:
    assert new_id("chat").startswith("chatcmpl-")
    assert new_id("text").startswith("cmpl-")
    assert len({new_id("chat") for _ in range(100)}) == 100
