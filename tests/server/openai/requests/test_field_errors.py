from __future__ import annotations

import json
from types import UnionType
from typing import Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from server.openai.requests import field_errors
from server.openai.requests.schemas import ChatCompletionRequest
from server.responses.schemas import ResponsesRequest


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"{", None, "could not parse the JSON"),
        (b"", None, "could not parse the JSON"),
        (b"\xff", None, "could not parse the JSON"),
        (b"[" * 5000, None, "could not parse the JSON"),
        (b"[]", None, "must be a JSON object"),
        (b'"text"', None, "must be a JSON object"),
        (b"{}", "messages", "Missing required parameter: 'messages'"),
        (b'{"messages": []}', "messages", "at least 1 item"),
        (b'{"messages": [{"content": "x"}]}', "messages[0].role", "Missing"),
        (b'{"messages": [{"role": "god", "content": "x"}]}', "messages[0].role", "'user'"),
        (b'{"messages": [{"role": "user", "content": 5}]}', "messages[0].content", "string"),
        (b'{"messages": [{"role": "user", "content": 5}]}', "messages[0].content", "string or array"),
        (b'{"messages": [{"role": "user", "content": {"type": "text"}}]}', "messages[0].content", "array"),
        (b'{"messages": [{"role": "user", "content": ["x"]}]}', "messages[0].content[0]", "object"),
        (b'{"messages": ["x"]}', "messages[0]", "object"),
        (b'{"messages": [{"role": "user", "content": "x"}], "n": "5"}', "n", "integer"),
        (
            b'{"messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": 1}}',
            "stream_options.include_usage",
            "boolean",
        ),
    ],
)
def test_validation_names_the_field(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ChatCompletionRequest.model_validate_json(body)
    error = field_errors.from_validation(caught.value)
    assert error.param == param
    assert words in error.message
    assert "\n" not in error.message


def test_no_model_of_a_union_is_in_a_path() -> None:
    """A union's branch that is a model has the model's name in pydantic's path, which no client knows."""
    for given, param in ((5, "conversation"), ({"id": 5}, "conversation.id"), ({}, "conversation.id")):
        with pytest.raises(ValidationError) as caught:
            ResponsesRequest.model_validate_json(json.dumps({"input": "x", "conversation": given}))
        error = field_errors.from_validation(caught.value)
        assert (error.param, "valid string" in error.message) == (param, bool(given))
        assert ("or object" in error.message) == (given == 5)
    for model in _models(BaseModel):
        for name, field in model.model_fields.items():
            if get_origin(field.annotation) not in (Union, UnionType):
                continue
            branches = [kind for kind in get_args(field.annotation) if kind is not type(None)]
            named = {
                kind.__name__ for kind in branches if isinstance(kind, type) and issubclass(kind, BaseModel)
            }
            assert len(branches) < 2 or named <= field_errors._BRANCHES, (model.__name__, name)


def _models(base: type[BaseModel]) -> list[type[BaseModel]]:
    """The product's models of requests that are loaded."""
    below = [model for each in base.__subclasses__() for model in (each, *_models(each))]
    return [model for model in below if model.__module__.startswith("server.")]
