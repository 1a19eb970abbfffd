from __future__ import annotations

from typing import Any

import msgspec
import pytest

from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Timings, TokenLogprob, Usage
from server.openai.errors import RequestFailed
from server.openai.heading import SYSTEM_FINGERPRINT
from server.openai.requests.answer_options import AnswerOptions, Candidates
from server.openai.response import WholeAnswer
from tests.server.openai.answers import FINISH, STARTED, TIMINGS, USAGE, delta, end, heading


def whole(answer: WholeAnswer, *events: Event) -> Any:
    for event in events:
        answer.on_event(event)
    return msgspec.json.decode(b"".join(answer.pieces()))


def test_whole_chat() -> None:
    body = whole(WholeAnswer(heading(), AnswerOptions()), STARTED, delta("He"), delta("llo"), end(), FINISH)
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
    answer = WholeAnswer(heading("text", 2), AnswerOptions(return_tokens=True))
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
    timings = whole(WholeAnswer(heading(), AnswerOptions()), end(), finish)["timings"]
    assert timings["prompt_per_second"] == timings["predicted_per_second"] == 0.0


def test_drafted_tokens_are_told_where_there_were_any() -> None:
    drafted = Timings(
        queue_ms=0, prompt_n=1, prompt_ms=1, predicted_n=9, predicted_ms=3, draft_n=8, draft_n_accepted=0
    )
    finish = Finish(id="x", usage=Usage(prompt_tokens=1, completion_tokens=9), timings=drafted)
    timings = whole(WholeAnswer(heading(), AnswerOptions()), end(), finish)["timings"]
    assert (timings["draft_n"], timings["draft_n_accepted"]) == (8, 0)
    assert "draft_n" not in whole(WholeAnswer(heading(), AnswerOptions()), end(), FINISH)["timings"]


def test_a_failure_is_raised() -> None:
    with pytest.raises(RequestFailed):
        WholeAnswer(heading(), AnswerOptions()).on_event(Failure(id="x", kind="server_error", message="m"))


def says(index: int, text: str, *logprobs: float) -> Delta:
    told = tuple(TokenLogprob(5, b"?", logprob) for logprob in logprobs)
    return delta(text, index, logprobs=told, n_tokens=len(told))


def test_logprobs_of_a_chat() -> None:
    answer = WholeAnswer(heading(), AnswerOptions(n_probs=0))
    body = whole(answer, says(0, "ab", -0.5, -0.25), says(0, "c", -0.125), end(), FINISH)
    logprobs = body["choices"][0]["logprobs"]
    assert [entry["logprob"] for entry in logprobs["content"]] == [-0.5, -0.25, -0.125]
    assert logprobs["refusal"] is None


def test_logprobs_of_a_text() -> None:
    answer = WholeAnswer(heading("text", 2), AnswerOptions(n_probs=0))
    parts = [says(0, "??", -0.5, -0.25), says(1, "?", -0.75), says(0, "?", -0.125)]
    body = whole(answer, *parts, end(0), end(1), FINISH)
    first, second = (choice["logprobs"] for choice in body["choices"])
    assert first == {
        "tokens": ["?", "?", "?"],
        "token_logprobs": [-0.5, -0.25, -0.125],
        "top_logprobs": [{"?": -0.5}, {"?": -0.25}, {"?": -0.125}],
        "text_offset": [0, 1, 2],
    }
    assert second["text_offset"] == [0]


def test_the_likeliest_come_first_and_the_rest_is_left_out() -> None:
    answer = WholeAnswer(heading("text", 6), AnswerOptions(candidates=Candidates(best_of=3, n=2)))
    echo = delta("P", 0, logprobs=(TokenLogprob(5, b"P", -99.0),), is_prompt=True)
    parts = [
        echo,
        says(0, "long", -0.5, -0.5, -0.5, -0.5),  # the least sum, not the least mean
        says(1, "unlikely", -1.0),
        says(2, "likely", -0.25),
        says(3, "x"),  # nothing generated: behind everything
        says(4, "y", -8.0),
        says(5, "z", -9.0),
    ]
    body = whole(answer, *parts, *(end(index) for index in range(6)), FINISH)
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [
        (0, "likely"),
        (1, "Plong"),
        (2, "y"),
        (3, "z"),
    ]
    assert all(choice["logprobs"] is None for choice in body["choices"])
    assert body["usage"] == USAGE
