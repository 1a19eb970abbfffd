from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.openai.requests.contradictions import refuse_contradictions
from server.openai.requests.schemas import ChatCompletionRequest, CompletionRequest


def check(kind: str, fields: dict[str, Any]) -> None:
    if kind == "chat":
        body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
        refuse_contradictions(ChatCompletionRequest.model_validate_json(json.dumps(body)))
    else:
        refuse_contradictions(CompletionRequest.model_validate_json(json.dumps({"prompt": "x", **fields})))


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        ("chat", {"stream_options": {"include_usage": True}}, "stream_options"),
        ("text", {"stream_options": {"include_usage": True}}, "stream_options"),
        ("text", {"n": 3, "best_of": 2}, "best_of"),
        ("text", {"n": 2, "best_of": 3, "stream": True}, "best_of"),
        ("text", {"best_of": 2, "stream": True}, "best_of"),
        ("chat", {"top_logprobs": 1}, "top_logprobs"),
        ("chat", {"top_logprobs": 1, "logprobs": False}, "top_logprobs"),
    ],
)
def test_refused_by_name(kind: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        check(kind, fields)
    assert caught.value.param == param
    assert f"'{param}'" in caught.value.message


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("text", {}),
        ("text", {"best_of": 1}),
        ("text", {"n": 2, "best_of": 5}),
        ("text", {"n": 3, "best_of": 3, "stream": True}),
        ("text", {"logprobs": 20}),
        ("text", {"stream": True, "stream_options": {"include_usage": True}}),
        ("chat", {"logprobs": True}),
        ("chat", {"logprobs": True, "top_logprobs": 20, "stream": True}),
        ("chat", {"logprobs": False, "top_logprobs": 0}),
    ],
)
def test_what_goes_together(kind: str, fields: dict[str, Any]) -> None:
    check(kind, fields)
