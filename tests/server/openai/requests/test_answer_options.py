from __future__ import annotations

import json
from typing import Any

import pytest

from server.chat.tool_definitions import NO_PARAMETERS
from server.chat.tools import Tool
from server.openai.requests.answer_options import AnswerOptions, Candidates, answer_options
from server.openai.requests.schemas import ChatCompletionRequest, CompletionRequest


def options(kind: str, **fields: Any) -> AnswerOptions:
    if kind == "chat":
        body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
        return answer_options(ChatCompletionRequest.model_validate_json(json.dumps(body)))
    return answer_options(CompletionRequest.model_validate_json(json.dumps({"prompt": "x", **fields})))


@pytest.mark.parametrize("kind", ["chat", "text"])
def test_nothing_is_wanted_that_was_not_requested(kind: str) -> None:
    assert options(kind) == AnswerOptions()
    assert not options(kind).logprobs


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("chat", {"logprobs": True}, AnswerOptions(n_probs=0)),
        ("chat", {"logprobs": True, "top_logprobs": 2}, AnswerOptions(n_probs=2)),
        ("text", {"logprobs": 0}, AnswerOptions(n_probs=0)),
        ("text", {"n_probs": 3}, AnswerOptions(n_probs=3)),
        ("text", {"best_of": 3}, AnswerOptions(candidates=Candidates(3, 1))),
        ("text", {"best_of": 3, "n": 2}, AnswerOptions(candidates=Candidates(3, 2))),
        (
            "chat",
            {"stream": True, "stream_options": {"include_usage": True}},
            AnswerOptions(include_usage=True),
        ),
        ("chat", {"return_tokens": True}, AnswerOptions(return_tokens=True)),
        ("chat", {"timings_per_token": True}, AnswerOptions(timings_per_token=True)),
    ],
)
def test_each_option_is_read(kind: str, fields: dict[str, Any], expected: AnswerOptions) -> None:
    assert options(kind, **fields) == expected


def test_what_the_parts_of_an_answer_need() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "fg"]
    wanted = options("chat", tools=tools, reasoning_format="none", reasoning={})
    assert wanted.tools == (
        Tool(name="f", parameters=NO_PARAMETERS),
        Tool(name="g", parameters=NO_PARAMETERS),
    )
    assert (wanted.legacy_calls, wanted.thoughts, wanted.reasoning_field) == (False, "content", True)
    named = {"type": "function", "function": {"name": "g"}}
    assert options("chat", tools=tools, tool_choice=named).tools == (
        Tool(name="g", parameters=NO_PARAMETERS),
    )
    assert options("chat", tools=tools, tool_choice="none").tools == ()
    assert options("chat", functions=[{"name": "f"}]).legacy_calls
