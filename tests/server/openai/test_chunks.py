from __future__ import annotations

import json
from typing import Any

import pytest

from server.engine.events import ChoiceEnd, Event, Failure, PromptScored, TokenLogprob
from server.openai.chunks import ChunkEncoder
from server.openai.errors import RequestFailed
from server.openai.heading import SYSTEM_FINGERPRINT, Kind
from server.openai.requests.answer_options import AnswerOptions
from server.openai.response import WholeAnswer
from tests.server.http_client import events_of
from tests.server.openai.answers import FINISH, STARTED, TIMINGS, USAGE, delta, end, heading


def stream(answer: ChunkEncoder, *events: Event) -> list[dict[str, Any]]:
    return events_of("".join([answer.feed(event).decode() for event in events]))


def choices(chunks: list[dict[str, Any]]) -> list[Any]:
    """(index, delta or text, finish reason) of each choice, in order."""
    return [
        (choice["index"], choice.get("delta", choice.get("text")), choice["finish_reason"])
        for chunk in chunks
        for choice in chunk["choices"]
    ]


def test_chat_stream() -> None:
    chunks = stream(
        ChunkEncoder(heading(), AnswerOptions()), STARTED, delta("He"), delta("llo"), end(), FINISH
    )
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
    chunks = stream(ChunkEncoder(heading("text"), AnswerOptions()), STARTED, delta("He"), end(), FINISH)
    assert choices(chunks) == [(0, "He", None), (0, "", "stop")]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert chunks[-1]["timings"] == TIMINGS


@pytest.mark.parametrize("kind", ["chat", "text"])
@pytest.mark.parametrize("options", [AnswerOptions(), AnswerOptions(n_probs=0)])
def test_an_answer_that_was_ended_for_repeating_itself_says_so(kind: Kind, options: AnswerOptions) -> None:
    loop = ChoiceEnd(id="x", index=0, finish_reason="length", is_loop=True)
    chunks = stream(ChunkEncoder(heading(kind), options), STARTED, delta("ha"), loop, FINISH)
    told = [choice for chunk in chunks for choice in chunk["choices"]]
    assert (told[-1]["finish_reason"], told[-1]["stop_reason"]) == ("length", "repetition")
    assert not any("stop_reason" in choice for choice in told[:-1])
    answer = WholeAnswer(heading(kind), options)
    for event in (STARTED, delta("ha"), loop, FINISH):
        answer.on_event(event)
    [choice] = json.loads(b"".join(answer.pieces()))["choices"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", "repetition")


def test_include_usage() -> None:
    chunks = stream(
        ChunkEncoder(heading(), AnswerOptions(include_usage=True)), STARTED, delta("He"), end(), FINISH
    )
    assert [chunk["usage"] for chunk in chunks] == [None, None, None, USAGE]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["timings"] == TIMINGS
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


def test_choices_take_turns() -> None:
    answer = ChunkEncoder(heading(n_choices=2), AnswerOptions())
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
    chunks = stream(ChunkEncoder(heading(), AnswerOptions()), delta("a"), end(), FINISH)
    assert choices(chunks)[0] == (0, {"role": "assistant", "content": ""}, None)
    assert (
        choices(stream(ChunkEncoder(heading(), AnswerOptions()), end(), FINISH))[0][1]["role"] == "assistant"
    )


def test_empty_deltas_make_no_chunk() -> None:
    answer = ChunkEncoder(heading(), AnswerOptions())
    assert len(stream(answer, STARTED, delta(""), delta("a"))) == 2


def test_tokens_where_asked_for() -> None:
    answer = ChunkEncoder(heading(), AnswerOptions(return_tokens=True))
    chunks = stream(answer, STARTED, delta("", tokens=(5,)), delta("a", tokens=(6, 7)))
    assert [chunk["choices"][0].get("tokens") for chunk in chunks] == [None, [5], [6, 7]]
    silent = stream(ChunkEncoder(heading(), AnswerOptions()), STARTED, delta("a", tokens=(6,)))
    assert all("tokens" not in chunk["choices"][0] for chunk in silent)


def test_timings_per_token() -> None:
    answer = ChunkEncoder(heading(), AnswerOptions(timings_per_token=True))
    chunks = stream(answer, STARTED, delta("a"), delta("b"), end(), FINISH)
    assert [chunk["timings"]["predicted_n"] for chunk in chunks] == [0, 1, 2, 2]
    assert chunks[1]["timings"]["prompt_n"] == 4
    assert chunks[-1]["timings"] == TIMINGS


def test_logprobs_of_a_chat() -> None:
    answer = ChunkEncoder(heading(), AnswerOptions(n_probs=0))
    first, held = TokenLogprob(5, b"H\xc3", -0.5), TokenLogprob(6, b"\xa9", -0.25)
    chunks = stream(
        answer, STARTED, delta("H", logprobs=(first,)), delta("", logprobs=(held,)), end(), FINISH
    )
    assert choices(chunks) == [
        (0, {"role": "assistant", "content": ""}, None),
        (0, {"content": "H"}, None),
        (0, {"content": ""}, None),
        (0, {}, "stop"),
    ]
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert told[0] is told[3] is None
    assert [part["content"][0]["bytes"] for part in told[1:3]] == [[0x48, 0xC3], [0xA9]]


def test_logprobs_of_texts_are_placed_in_each_choice() -> None:
    answer = ChunkEncoder(heading("text", 2), AnswerOptions(n_probs=0))
    a, b = TokenLogprob(5, b"abc", -0.5), TokenLogprob(6, b"d", -0.25)
    events = [delta("abc", 0, (), (a,)), delta("d", 1, (), (b,)), delta("d", 0, (), (b,))]
    chunks = stream(answer, STARTED, *events)
    assert [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in chunks] == [[0], [0], [3]]
    assert [chunk["choices"][0]["logprobs"]["tokens"] for chunk in chunks] == [["abc"], ["d"], ["d"]]


@pytest.mark.parametrize("kind", ["chat", "text"])
def test_logprobs_that_nobody_asked_for_are_kept(kind: Kind) -> None:
    answer = ChunkEncoder(heading(kind), AnswerOptions())
    chunks = stream(answer, STARTED, delta("a", logprobs=(TokenLogprob(5, b"a", -0.5),)))
    assert all(chunk["choices"][0]["logprobs"] is None for chunk in chunks)
    assert answer.feed(PromptScored(id="x", logprobs=())) == b""


def test_a_failure_is_raised() -> None:
    failure = Failure(id="x", kind="server_error", message="m")
    with pytest.raises(RequestFailed):
        ChunkEncoder(heading(), AnswerOptions()).feed(failure)
