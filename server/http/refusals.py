"""Refusals: the errors that only HTTP has: of keys, heads, hosts, routes and connections. Pure.

Errors of ours that become HTTP are in the table of `server.openai.errors`.
"""

from __future__ import annotations

from collections.abc import Iterable

from server.openai.errors import INVALID, SERVER, ApiError, ErrorBody


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
    return _refusal(
        400,
        "invalid_http",
        "This is no valid HTTP/1.1 request; check the client, and that the URL is http://",
    )


def invalid_head(fault: str) -> ApiError:
    """Return the error for a request whose head is wrong."""
    return _refusal(400, "invalid_http", f"The request's head is wrong: {fault}; check the client")


def late_request(waiting_for: str) -> ApiError:
    """Return the error for a client that doesn't send the rest of its request."""
    return _refusal(
        408, "request_timeout", f"The rest of the request's {waiting_for} didn't come in time; send it again"
    )


def long_target(limit_bytes: int) -> ApiError:
    """Return the error for an address that is too long."""
    return _refusal(
        414, "url_too_long", f"The request's address has over {limit_bytes:,} bytes, which is the limit"
    )


def long_headers(limit_bytes: int) -> ApiError:
    """Return the error for headers that are too long."""
    return _refusal(
        431, "headers_too_long", f"The request's headers have over {limit_bytes:,} bytes, which is the limit"
    )


def unread_encoding(codings: str) -> ApiError:
    """Return the error for a compressed body."""
    message = f"The request's body has the content encoding {codings!r}; send it as it is, without one"
    return _refusal(415, "unsupported_encoding", message)


def unread_transfer(codings: str) -> ApiError:
    """Return the error for a body that comes in another way than whole or in chunks."""
    message = f"The request's body has the transfer encoding {codings!r}; send it whole or 'chunked'"
    return _refusal(501, "unsupported_encoding", message)


def foreign_host(host: str) -> ApiError:
    """Return the error for a name that a server without keys doesn't answer to."""
    shown = host.encode("ascii", "backslashreplace").decode()[:200]
    message = (
        f"This server doesn't answer to the name {shown!r}: without API keys it answers to addresses and"
        " local names alone, so that no web page reaches it by a name of its own; start it with"
        f" --allowed-host {shown}, or with --api-key"
    )
    return _refusal(403, "host_not_allowed", message)


def foreign_origin(origin: str) -> ApiError:
    """Return the error for a web page that may not call a server without keys."""
    shown = origin.encode("ascii", "backslashreplace").decode()[:200]
    message = (
        f"Pages of {shown} may not call this server; start it with --cors-origin ORIGIN for those that may,"
        " or with --api-key"
    )
    return _refusal(403, "origin_not_allowed", message)


def refused_preflight(fault: str) -> ApiError:
    """Return the error for a preflight that isn't granted."""
    return _refusal(400, "cors_not_allowed", f"{fault}; start the server with --cors-origin for its pages")


def tools_are_off() -> ApiError:
    """Return the error for tools of a server that runs none."""
    return _refusal(501, "tools_are_off", "This server runs no tools; start it with --tool or --mcp-servers")


def unknown_tool(name: str) -> ApiError:
    """Return the error for a tool that the server hasn't."""
    return _refusal(404, "unknown_tool", f"This server has no tool {name[:128]!r}; GET /tools lists them")


def metrics_are_off() -> ApiError:
    """Return the error for figures that aren't told."""
    return _refusal(501, "metrics_are_off", "This server tells no figures; start it with --metrics")


def slots_are_off() -> ApiError:
    """Return the error for slots that aren't shown."""
    return _refusal(501, "slots_are_off", "This server doesn't show its slots; start it with --slots")


def slots_are_not_kept() -> ApiError:
    """Return the error for slots that are to be kept where no folder is set."""
    return _refusal(
        501, "slots_are_not_kept", "This server keeps no slots in files; start it with --slot-save-path DIR"
    )


def no_web_socket() -> ApiError:
    """Return the error for a client that wants a WebSocket."""
    return _refusal(
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


def loading(message: str) -> ApiError:
    """Return the error of `/ready` before everything is loaded."""
    return ApiError(
        status=503, body=ErrorBody(message=message, type=SERVER, code="model_loading"), retry_after_s=1
    )


def stopping() -> ApiError:
    """Return the error of `/ready` once the server was asked to stop, while it still serves."""
    body = ErrorBody(
        message="This server is stopping; send new requests to another one, or again later",
        type=SERVER,
        code="server_stopping",
    )
    return ApiError(status=503, body=body, retry_after_s=1)


def _refusal(status: int, code: str, message: str) -> ApiError:
    return ApiError(status=status, body=ErrorBody(message=message, type=INVALID, code=code))
