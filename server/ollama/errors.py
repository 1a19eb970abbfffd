"""Errors in Ollama's form, `{"error": "…"}`. Pure."""

from __future__ import annotations

import msgspec

from server.openai.errors import ApiError

FOLDER = "/api/"
"""Errors below this path are in Ollama's form."""


def from_api_error(error: ApiError) -> bytes:
    """Return the body of the response: the words, with the name of the field in them."""
    message, param = error.body.message, error.body.param
    if error.status == 400 and param is not None and param not in message:
        message = f"{param}: {message}"
    return msgspec.json.encode({"error": message})
