"""A worker's refusals and its death, as errors for callers and as events for running requests. Pure."""

from __future__ import annotations

from models import errors
from models.errors import (
    CorralError,
    DiskFull,
    ModelLoadError,
    RequestError,
    WorkerBusy,
    WorkerDied,
    WorkerError,
)
from server.engine.events import DISK_FULL, WORKER_DIED, Failure
from server.ipc.messages import LoadFailed
from server.supervisor.process.exit_report import ExitReport


class AnswerCut(WorkerError):
    """A worker has died in a request that can go on in another one.

    `died` is the death, and `failure` the request's terminal event if it doesn't come to that.
    """

    def __init__(self, died: WorkerDied, failure: Failure) -> None:
        super().__init__(died.message)
        self.died = died
        self.failure = failure


class ResumeRefused(WorkerError):
    """A worker can't go on with what another one has begun."""


def death(name: str, report: ExitReport, when: str = "") -> WorkerDied:
    """Return the error of a worker's end: `the worker for model demo died while loading it (SIGKILL); …`."""
    hint = f"; {report.hint}" if report.hint else ""
    message = f"the worker for model {name} died{' ' + when if when else ''} ({report.how}){hint}"
    is_killed = report.signal_name == "SIGKILL" and report.verdict is None
    return WorkerDied(message, is_killed=is_killed, is_remote=report.is_remote)


def cut_off(request_id: str, name: str, report: ExitReport, *, has_output: bool) -> Failure:
    """Return the terminal event of a request whose worker has died; one without output can be sent again."""
    died = f"The worker for model {name} died ({report.how})"
    if has_output:
        message = f"{died} in the middle of this answer; send the request again"
        return Failure(id=request_id, kind="server_error", message=message, code=WORKER_DIED)
    message = f"{died} before it answered; it is being restarted: send the request again"
    return Failure(id=request_id, kind="unavailable", message=message, code=WORKER_DIED, retry_after_s=1.0)


def refusal(reply: LoadFailed) -> CorralError:
    """Return a worker's refusal as the error that it names, where a message alone makes one."""
    error_class = getattr(errors, reply.kind, None)
    if isinstance(error_class, type) and issubclass(error_class, CorralError):
        try:
            return error_class(reply.message)
        except TypeError:  # it wants more than a message
            pass
    return ModelLoadError(reply.message)


def error_of(failure: Failure) -> CorralError:
    """Return the exception of a refused call."""
    if failure.kind == "busy":
        return WorkerBusy(failure.message, failure.retry_after_s or 1.0)
    if failure.kind == "invalid_request":
        return RequestError(failure.message, failure.param, failure.code)
    if failure.kind == "server_error":
        return DiskFull(failure.message) if failure.code == DISK_FULL else CorralError(failure.message)
    return WorkerError(failure.message)
