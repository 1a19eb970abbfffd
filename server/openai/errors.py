"""The error table: every error of ours as the HTTP status and body that OpenAI's clients expect. Pure.

Always `{"error": {"message", "type", "param", "code"}}`; `code` is a string or null. The one place where
errors become HTTP; a test proves that no class of `models.errors` is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

import msgspec
from pydantic import ValidationError

from models import errors
from models.errors import CorralError, RequestError
from server.engine.events import Failure, FailureKind

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
    errors.DiskFull: _Row(500, SERVER),
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
    errors.WorkerDied: _Row(503, SERVER, code="worker_died", retry_after_s=1),
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
        error.message,
        param=getattr(error, "param", None),
        code=getattr(error, "code", None),
        retry_after_s=getattr(error, "retry_after_s", None),
    )


def from_failure(failure: Failure) -> ApiError:
    """Return the client's form of a request's `Failure`."""
    row = _FAILURES[failure.kind]
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


# --- errors that only HTTP has ------------------------------------------------------------------------------


def missing_key() -> ApiError:
    """Return the error for a request without an API key."""
    body = ErrorBody(
        message="No API key in the request; send it as 'Authorization: Bearer KEY' or in X-Api-Key",
        type=INVALID,
        code="invalid_api_key",
    )
    return ApiError(status=401, body=body)


def wrong_key() -> ApiError:
    """Return the error for a request with an unknown API key."""
    body = ErrorBody(message="Incorrect API key provided", type=INVALID, code="invalid_api_key")
    return ApiError(status=401, body=body)


def expired_key(name: str, expired: str) -> ApiError:
    """Return the error for a key that was good until `expired`."""
    body = ErrorBody(
        message=f"The API key {name} has expired ({expired}); ask whoever runs the server for a new one "
        f"(corral keys rotate {name} --expires 90d)",
        type=INVALID,
        code="invalid_api_key",
    )
    return ApiError(status=401, body=body)


def key_gone() -> ApiError:
    """Return the error for work that goes on for a key which isn't good any more."""
    body = ErrorBody(
        message="The API key for which this is done was removed or has expired; begin again with another",
        type=INVALID,
        code="invalid_api_key",
    )
    return ApiError(status=401, body=body)


def insufficient_scope(name: str, wanted: str, scopes: Iterable[str]) -> ApiError:
    """Return the error for a key without the right that a route asks for."""
    message = (
        f"The API key {name} has no right to this: the route asks for the scope '{wanted}', and the key has "
        f"{', '.join(scopes) or 'none'}; ask whoever runs the server for a key with it"
    )
    return ApiError(status=403, body=ErrorBody(message=message, type=INVALID, code="insufficient_scope"))


def http_error(status: int, method: str, path: str, known: Iterable[str] = ()) -> ApiError:
    """Return an error of routing: no such path, wrong method.

    `known`: the server's paths. One with which the client's path ends is told: its base URL is wrong then.
    """
    asked = path.rstrip("/")
    meant = max((each for each in known if len(each) > 1 and asked.endswith(each)), key=len, default=None)
    fix = "see /docs for the routes"
    if meant is not None:
        fix = f"this server has {meant}; change the client's base URL so that it asks for that"
    messages = {
        404: f"Unknown request URL: {method} {path}; {fix}",
        405: f"Not allowed to {method} on {path}; see /docs for the methods",
    }
    message = messages.get(status, f"The request {method} {path} can't be served (status {status})")
    code = {404: "unknown_url", 405: "method_not_allowed"}.get(status)
    return ApiError(
        status=status, body=ErrorBody(message=message, type=INVALID if status < 500 else SERVER, code=code)
    )


def invalid_http() -> ApiError:
    """Return the error for bytes that are no HTTP."""
    return _http_refusal(
        400,
        "invalid_http",
        "This is no valid HTTP/1.1 request; check the client, and that the URL is http://",
    )


def invalid_head(fault: str) -> ApiError:
    """Return the error for a request whose head is wrong."""
    return _http_refusal(400, "invalid_http", f"The request's head is wrong: {fault}; check the client")


def late_request(waiting_for: str) -> ApiError:
    """Return the error for a client that doesn't send the rest of its request."""
    return _http_refusal(
        408, "request_timeout", f"The rest of the request's {waiting_for} didn't come in time; send it again"
    )


def long_target(limit_bytes: int) -> ApiError:
    """Return the error for an address that is too long."""
    return _http_refusal(
        414, "url_too_long", f"The request's address has over {limit_bytes:,} bytes, which is the limit"
    )


def long_headers(limit_bytes: int) -> ApiError:
    """Return the error for headers that are too long."""
    return _http_refusal(
        431, "headers_too_long", f"The request's headers have over {limit_bytes:,} bytes, which is the limit"
    )


def unread_encoding(codings: str) -> ApiError:
    """Return the error for a compressed body."""
    message = f"The request's body has the content encoding {codings!r}; send it as it is, without one"
    return _http_refusal(415, "unsupported_encoding", message)


def unread_transfer(codings: str) -> ApiError:
    """Return the error for a body that comes in another way than whole or in chunks."""
    message = f"The request's body has the transfer encoding {codings!r}; send it whole or 'chunked'"
    return _http_refusal(501, "unsupported_encoding", message)


def foreign_host(host: str) -> ApiError:
    """Return the error for a name that a server without keys doesn't answer to."""
    shown = host.encode("ascii", "backslashreplace").decode()[:200]
    message = (
        f"This server doesn't answer to the name {shown!r}: without API keys it answers to addresses and"
        " local names alone, so that no web page reaches it by a name of its own; start it with"
        f" --allowed-host {shown}, or with --api-key"
    )
    return _http_refusal(403, "host_not_allowed", message)


def foreign_origin(origin: str) -> ApiError:
    """Return the error for a web page that may not call a server without keys."""
    shown = origin.encode("ascii", "backslashreplace").decode()[:200]
    message = (
        f"Pages of {shown} may not call this server; start it with --cors-origin ORIGIN for those that may,"
        " or with --api-key"
    )
    return _http_refusal(403, "origin_not_allowed", message)


def refused_preflight(fault: str) -> ApiError:
    """Return the error for a preflight that isn't granted."""
    return _http_refusal(
        400, "cors_not_allowed", f"{fault}; start the server with --cors-origin for its pages"
    )


def tools_are_off() -> ApiError:
    """Return the error for tools of a server that runs none."""
    return _http_refusal(
        501, "tools_are_off", "This server runs no tools; start it with --tool or --mcp-servers"
    )


def unknown_tool(name: str) -> ApiError:
    """Return the error for a tool that the server hasn't."""
    return _http_refusal(
        404, "unknown_tool", f"This server has no tool {name[:128]!r}; GET /tools lists them"
    )


def metrics_are_off() -> ApiError:
    """Return the error for figures that aren't told."""
    return _http_refusal(501, "metrics_are_off", "This server tells no figures; start it with --metrics")


def slots_are_off() -> ApiError:
    """Return the error for slots that aren't shown."""
    return _http_refusal(501, "slots_are_off", "This server doesn't show its slots; start it with --slots")


def slots_are_not_kept() -> ApiError:
    """Return the error for slots that are to be kept where no folder is set."""
    return _http_refusal(
        501, "slots_are_not_kept", "This server keeps no slots in files; start it with --slot-save-path DIR"
    )


def no_web_socket() -> ApiError:
    """Return the error for a client that wants a WebSocket."""
    return _http_refusal(
        426, "no_web_socket", "This server has no WebSockets; send the request by POST, over HTTP"
    )


def too_many_connections(limit: int) -> ApiError:
    """Return the error for a connection beyond the limit."""
    body = ErrorBody(
        message=f"This server has {limit:,} connections, which is its limit; connect again later",
        type=SERVER,
        code="too_many_connections",
    )
    return ApiError(status=503, body=body, retry_after_s=1)


def _http_refusal(status: int, code: str, message: str) -> ApiError:
    return ApiError(status=status, body=ErrorBody(message=message, type=INVALID, code=code))


def internal_error(request_id: str) -> ApiError:
    """Return the error for a defect of ours; the log has the traceback."""
    message = f"The server had an error while processing the request; its log has more under {request_id}"
    return ApiError(status=500, body=ErrorBody(message=message, type=SERVER, code="internal_error"))


def loading(message: str) -> ApiError:
    """Return the error of `/ready` before everything is loaded."""
    return ApiError(
        status=503, body=ErrorBody(message=message, type=SERVER, code="model_loading"), retry_after_s=1
    )


# --- validation ---------------------------------------------------------------------------------------------


def invalid(error: ValidationError) -> RequestError:
    """Return the first of pydantic's problems, naming the field: `messages[0].role`."""
    return invalid_field(error.errors(include_url=False, include_context=True, include_input=False))


def invalid_field(problems: Sequence[Mapping[str, Any]]) -> RequestError:
    """Return the same for a list of pydantic's problems."""
    problem, is_union = _nearest(problems)
    if problem["type"] == "json_invalid":
        reason = problem.get("ctx", {}).get("error", problem["msg"])
        return RequestError(
            f"We could not parse the JSON body of your request: {reason}", code="invalid_json"
        )
    if not problem["loc"]:
        return RequestError("The body of the request must be a JSON object")
    param = _path(problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return RequestError(
            f"Missing required parameter: '{param}'", param=param, code="missing_required_parameter"
        )
    if is_union:
        kinds = [each["msg"].removeprefix(_VALID).removeprefix(_AN) for each in _same_place(problems)]
        message = f"{_VALID}{' or '.join(dict.fromkeys(kinds))}"
    return RequestError(
        f"Invalid value for '{param}': {message[:1].lower()}{message[1:]}", param=param, code="invalid_value"
    )


def _nearest(problems: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], bool]:
    """Return the problem that says most of the first field, and True if all that is told is its type.

    A union has a problem for each of its branches. That of the branch which the value was meant for is
    deeper than its type, or another than the type.
    """
    same = _same_place(problems)
    first = _path(problems[0]["loc"])
    meant = [
        each
        for each in problems
        if (path := _path(each["loc"])) != first and path.startswith((f"{first}[", f"{first}."))
    ] + [each for each in same if not each["msg"].startswith((_VALID, f"{_AN}object"))]
    return (meant[0], False) if len(problems) > 1 and meant else (problems[0], len(same) > 1)


def _same_place(problems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    first = _path(problems[0]["loc"])
    return [each for each in problems if _path(each["loc"]) == first]


_VALID = "Input should be a valid "
_AN = "Input should be an "


def _path(location: Sequence[str | int]) -> str:
    """Return a path without a union's branches: ("messages", 0, "content", "str") → messages[0].content."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in _BRANCHES:
            path += f".{part}" if path else part
    return path or "body"


_BRANCHES = frozenset({"str", "int", "float", "bool", "none", "nullable", "json", "ConversationReference"})
