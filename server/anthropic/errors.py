"""Errors in Anthropic's form: `{"type": "error", "error": {"type", "message"}, "request_id"}`. Pure.

They are made of those in OpenAI's form, which have the status and the words. Three things differ: the type,
which follows the status; a server that can't answer now says 529; and the error of a prompt that is too long
has the words by which clients know that they should shorten it.
"""

from __future__ import annotations

import re

import msgspec

from server.openai.errors import ApiError

PATHS = ("/v1/messages",)
"""Errors below these paths are in Anthropic's form, whatever the request's headers are."""
VERSION_HEADER = b"anthropic-version"
"""A request with this header is Anthropic's, wherever it goes."""

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TOO_LONG = re.compile(r"maximum context length is (\d+) tokens.*?\((at least )?(\d+) in the ", re.DOTALL)


class AnthropicError(msgspec.Struct, frozen=True, kw_only=True):
    """One error, ready for the wire."""

    status: int
    json: bytes


def from_api_error(error: ApiError, request_id: str) -> AnthropicError:
    """Return the same error in Anthropic's form."""
    status = 529 if error.status == 503 else error.status
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    body = {
        "type": "error",
        "error": {"type": kind, "message": _message(error)},
        "request_id": request_id,
    }
    return AnthropicError(status=status, json=msgspec.json.encode(body))


def _message(error: ApiError) -> str:
    message, param = error.body.message, error.body.param
    if error.status == 400 and param is not None and param not in message:
        message = f"{param}: {message}"  # this form has no other place for it
    if error.body.code != "context_length_exceeded":
        return message
    match = _TOO_LONG.search(message)
    if match is None:
        return f"prompt is too long: {error.body.message}"
    limit, some, given = match.groups()
    most = min(int(limit), int(given) - 1)  # a prompt of just the limit leaves no room for an answer
    return f"prompt is too long: {some or ''}{given} tokens > {most} maximum"
