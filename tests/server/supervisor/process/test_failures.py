from __future__ import annotations

import pytest

from models.errors import CorralError, InvalidGGUF, ModelLoadError, RequestError, WorkerBusy, WorkerError
from server.engine.events import Failure, FailureKind
from server.ipc.messages import LoadFailed
from server.supervisor.process.exit_report import ExitReport
from server.supervisor.process.failures import cut_off, death, error_of, refusal

KILLED = ExitReport(returncode=-9)


def test_a_death_says_when_how_and_what_to_do() -> None:
    message = death("demo", KILLED, "while loading it").message
    assert message.startswith(
        "the worker for model demo died while loading it (SIGKILL); the system may have"
    )
    assert death("demo", ExitReport(returncode=3)).message == "the worker for model demo died (exit status 3)"


def test_a_request_without_output_may_be_sent_again_at_once() -> None:
    whole = cut_off("r", "demo", KILLED, has_output=False)
    assert (whole.kind, whole.retry_after_s, whole.code) == ("unavailable", 1.0, "worker_died")
    half = cut_off("r", "demo", KILLED, has_output=True)
    assert (half.kind, half.retry_after_s, half.code) == ("server_error", None, "worker_died")
    assert "in the middle of this answer" in half.message


@pytest.mark.parametrize(
    ("kind", "error_class"),
    [
        ("InvalidGGUF", InvalidGGUF),
        ("WorkerBusy", ModelLoadError),  # it wants more than a message
        ("annotations", ModelLoadError),
        ("Unheard", ModelLoadError),
    ],
)
def test_a_refusal_is_the_error_it_names(kind: str, error_class: type[CorralError]) -> None:
    error = refusal(LoadFailed(message="no tensors", kind=kind))
    assert type(error) is error_class
    assert error.message == "no tensors"


@pytest.mark.parametrize(
    ("kind", "error_class"),
    [
        ("busy", WorkerBusy),
        ("invalid_request", RequestError),
        ("server_error", CorralError),
        ("unavailable", WorkerError),
    ],
)
def test_a_refused_call_is_raised_as_its_kind(kind: FailureKind, error_class: type[CorralError]) -> None:
    error = error_of(Failure(id="x", kind=kind, message="no", param="p", code="c", retry_after_s=3.0))
    assert type(error) is error_class
    assert error.message == "no"
    if isinstance(error, RequestError):
        assert (error.param, error.code) == ("p", "c")
    if isinstance(error, WorkerBusy):
        assert error.retry_after_s == 3.0
