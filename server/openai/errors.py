"""The error table: every error of ours as the HTTP status and body that OpenAI's clients expect. Pure.

Always `{"error": {"message", "type", "param", "code"}}`; `code` is a string or null. The one place where
errors become HTTP; a test proves that no class of `models.errors` is missing. Those that only HTTP has are
in `server.http.refusals`, those of a body's fields in `server.openai.requests.field_errors`.
"""

from __future__ import annotations

from math import ceil

import msgspec

from models import errors
from models.errors import CorralError, RequestError
from server.engine.events import DISK_FULL, WORKER_DIED, Failure, FailureKind

INVALID = "invalid_request_error"
SERVER = "server_error"
RATE_LIMIT = "rate_limit_error"


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class _Envelope(msgspec.Struct, frozen=True):
    error: ErrorBody


class ApiError(msgspec.Struct, frozen=True, kw_only=True):
    """One error, ready for the wire; the same request may succeed after `retry_after_s` seconds."""

    status: int
    body: ErrorBody
    retry_after_s: float | None = None
    context: tuple[int, int] | None = None
    """The tokens of a prompt that has no room, and those of the context."""

    def json(self) -> bytes:
        """Return the body of the response."""
        return msgspec.json.encode(_Envelope(self.body))

    def headers(self) -> dict[str, str]:
        """Return the headers that the error adds."""
        if self.retry_after_s is None:
            return {}
        return {"Retry-After": str(max(1, ceil(self.retry_after_s)))}


class _Row(msgspec.Struct, frozen=True):
    status: int
    type: str
    code: str | None = None
    param: str | None = None
    retry_after_s: float | None = None


class BodyTooLarge(RequestError):
    """The request's body is above the limit."""


class RequestFailed(CorralError):
    """A request that ended with a `Failure` event."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


# An error is looked up by its class, then by the nearest of its bases.
TABLE: dict[type[CorralError], _Row] = {
    CorralError: _Row(500, SERVER),
    errors.InvalidReference: _Row(400, INVALID, param="model"),
    errors.ConfigError: _Row(500, SERVER),
    errors.ModelNotFound: _Row(404, INVALID, code="model_not_found", param="model"),
    errors.AdapterNotFound: _Row(404, INVALID, code="adapter_not_found", param="id"),
    errors.StoreError: _Row(500, SERVER),
    errors.DiskFull: _Row(507, SERVER, code=DISK_FULL),
    errors.HubError: _Row(500, SERVER),
    errors.HubUnreachable: _Row(503, SERVER, retry_after_s=30),
    errors.AccessDenied: _Row(500, SERVER),
    errors.DownloadCorrupt: _Row(500, SERVER),
    errors.InvalidGGUF: _Row(500, SERVER, code="model_load_failed"),
    errors.CheckpointError: _Row(500, SERVER),
    errors.UnknownArchitecture: _Row(500, SERVER),
    errors.UnknownTokenizer: _Row(500, SERVER),
    errors.QuantizationError: _Row(500, SERVER),
    errors.LlamaCppError: _Row(500, SERVER),
    errors.ModelLoadError: _Row(500, SERVER, code="model_load_failed"),
    errors.ContextError: _Row(500, SERVER, code="model_load_failed"),
    errors.DecodeError: _Row(500, SERVER),
    errors.RestoreError: _Row(500, SERVER),
    errors.NotKept: _Row(404, INVALID),
    errors.WorkerError: _Row(503, SERVER, retry_after_s=5),
    errors.WorkerDied: _Row(503, SERVER, code=WORKER_DIED, retry_after_s=1),
    errors.RpcServerError: _Row(503, SERVER, code="rpc_server", retry_after_s=2),
    errors.WorkerBusy: _Row(429, RATE_LIMIT, code="rate_limit_exceeded", retry_after_s=1),
    errors.RateLimited: _Row(429, RATE_LIMIT, code="rate_limit_exceeded"),
    errors.RequestError: _Row(400, INVALID),
    errors.NotAllowed: _Row(403, INVALID),
    errors.NotServed: _Row(501, INVALID, code="not_served"),
    errors.ContextLengthExceeded: _Row(400, INVALID, code="context_length_exceeded"),
    BodyTooLarge: _Row(413, INVALID),
}

_FAILURES: dict[FailureKind, _Row] = {
    "invalid_request": _Row(400, INVALID),
    "busy": _Row(429, RATE_LIMIT, code="rate_limit_exceeded", retry_after_s=1),
    "server_error": _Row(500, SERVER, code="server_error"),
    "unavailable": _Row(503, SERVER, code="unavailable", retry_after_s=1),
    "cancelled": _Row(503, SERVER, code="cancelled", retry_after_s=1),
}


def from_error(error: CorralError) -> ApiError:
    """Return the client's form of `error`."""
    if isinstance(error, RequestFailed):
        return from_failure(error.failure)
    row = next(TABLE[base] for base in type(error).__mro__ if base in TABLE)
    return _filled(
        row,
        error.public,
        param=getattr(error, "param", None),
        code=getattr(error, "code", None),
        retry_after_s=getattr(error, "retry_after_s", None),
    )


def from_failure(failure: Failure) -> ApiError:
    """Return the client's form of a request's `Failure`."""
    row = TABLE[errors.DiskFull] if failure.code == DISK_FULL else _FAILURES[failure.kind]
    error = _filled(row, failure.message, failure.param, failure.code, failure.retry_after_s)
    return error if failure.context is None else msgspec.structs.replace(error, context=failure.context)


def _filled(
    row: _Row, message: str, param: str | None, code: str | None, retry_after_s: float | None
) -> ApiError:
    body = ErrorBody(message=message, type=row.type, param=param or row.param, code=code or row.code)
    return ApiError(
        status=row.status,
        body=body,
        retry_after_s=row.retry_after_s if retry_after_s is None else retry_after_s,
    )


def internal_error(request_id: str) -> ApiError:
    """Return the error for a defect of ours; the log has the traceback."""
    message = f"The server had an error while processing the request; its log has more under {request_id}"
    return ApiError(status=500, body=ErrorBody(message=message, type=SERVER, code="internal_error"))
