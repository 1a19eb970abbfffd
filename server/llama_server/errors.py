"""Errors in llama-server's form: its types, and the numbers of a full context. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from server.openai.errors import ApiError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    501: "not_supported_error",
    503: "unavailable_error",
}


def native_error(error: ApiError) -> bytes:
    """Return the body of the response; `reason` is the word that `code` has in OpenAI's form."""
    body = error.body
    native: dict[str, Any] = {
        "code": error.status,
        "message": body.message,
        "type": _TYPES.get(error.status, body.type if error.status < 500 else "server_error"),
        "param": body.param,
        "reason": body.code,
    }
    if error.context is not None:
        n_prompt, n_ctx = error.context
        native |= {
            "message": f"request ({n_prompt} tokens) exceeds the available context size ({n_ctx} tokens), "
            "shorten it or raise --ctx",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": n_prompt,
            "n_ctx": n_ctx,
        }
    return msgspec.json.encode({"error": native})
