from __future__ import annotations

import inspect

import msgspec
import pytest

from models import errors as ours
from models.errors import CorralError
from server.engine.events import Failure, FailureKind
from server.openai import errors


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
        (ours.RpcServerError("m"), 503, "server_error", None, "rpc_server", "2"),
        (ours.WorkerError("m"), 503, "server_error", None, None, "5"),
        (ours.ModelLoadError("m"), 500, "server_error", None, "model_load_failed", None),
        (ours.StoreError("m"), 500, "server_error", None, None, None),
        (ours.StoreError("can't keep it in /home/me", "m"), 500, "server_error", None, None, None),
        (ours.DiskFull("no room in /home/me", "m"), 507, "server_error", None, "disk_full", None),
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
