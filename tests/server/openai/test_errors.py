from __future__ import annotations

import inspect
import json
from types import UnionType
from typing import Union, get_args, get_origin

import msgspec
import pytest
from pydantic import BaseModel, ValidationError

from models import errors as ours
from models.errors import CorralError
from server.engine.events import Failure, FailureKind
from server.openai import errors
from server.openai.requests.schemas import ChatCompletionRequest
from server.responses.schemas import ResponsesRequest


def test_every_error_of_ours_is_in_the_table() -> None:
    classes = {cls for _, cls in inspect.getmembers(ours, inspect.isclass) if issubclass(cls, CorralError)}
    assert len(classes) > 20
    assert classes - errors.TABLE.keys() == set()


@pytest.mark.parametrize(
    ("error", "status", "kind", "param", "code", "retry"),
    [
        (ours.ModelNotFound("m"), 404, "invalid_request_error", "model", "model_not_found", None),
        (ours.RequestError("m", "stop", "c"), 400, "invalid_request_error", "stop", "c", None),
        (
            ours.ContextLengthExceeded("m"),
            400,
            "invalid_request_error",
            "messages",
            "context_length_exceeded",
            None,
        ),
        (ours.WorkerBusy("m", 2.2), 429, "rate_limit_error", None, "rate_limit_exceeded", "3"),
        (ours.WorkerDied("m"), 503, "server_error", None, "worker_died", "1"),
        (ours.WorkerError("m"), 503, "server_error", None, None, "5"),
        (ours.ModelLoadError("m"), 500, "server_error", None, "model_load_failed", None),
        (ours.DecodeError("m", -1), 500, "server_error", None, None, None),
        (errors.BodyTooLarge("m"), 413, "invalid_request_error", None, None, None),
    ],
)
def test_answers(
    error: CorralError, status: int, kind: str, param: str | None, code: str | None, retry: str | None
) -> None:
    answer = errors.from_error(error)
    assert answer.status == status
    assert answer.headers().get("Retry-After") == retry
    expected = {"message": "m", "type": kind, "param": param, "code": code}
    assert msgspec.json.decode(answer.json()) == {"error": expected}


def test_an_error_that_says_when_to_come_back_is_heard() -> None:
    class StillLoading(ours.WorkerError):
        retry_after_s = 12.0

    answer = errors.from_error(StillLoading("m"))
    assert (answer.status, answer.headers()) == (503, {"Retry-After": "12"})


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request", 400),
        ("busy", 429),
        ("server_error", 500),
        ("unavailable", 503),
        ("cancelled", 503),
    ],
)
def test_failures(kind: FailureKind, status: int) -> None:
    answer = errors.from_failure(Failure(id="x", kind=kind, message="m", param="p", code="c"))
    assert (answer.status, answer.body.param, answer.body.code) == (status, "p", "c")
    assert ("Retry-After" in answer.headers()) == (status in (429, 503))
    failed = errors.RequestFailed(Failure(id="x", kind=kind, message="m"))
    assert errors.from_error(failed).status == status


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
    error = errors.invalid(caught.value)
    assert error.param == param
    assert words in error.message
    assert "\n" not in error.message


def test_no_model_of_a_union_is_in_a_path() -> None:
    """A union's branch that is a model has the model's name in pydantic's path, which no client knows."""
    for given, param in ((5, "conversation"), ({"id": 5}, "conversation.id"), ({}, "conversation.id")):
        with pytest.raises(ValidationError) as caught:
            ResponsesRequest.model_validate_json(json.dumps({"input": "x", "conversation": given}))
        error = errors.invalid(caught.value)
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
            assert len(branches) < 2 or named <= errors._BRANCHES, (model.__name__, name)


def _models(base: type[BaseModel]) -> list[type[BaseModel]]:
    """The product's models of requests that are loaded."""
    below = [model for each in base.__subclasses__() for model in (each, *_models(each))]
    return [model for model in below if model.__module__.startswith("server.")]
