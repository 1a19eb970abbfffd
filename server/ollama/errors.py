"""Errors in Ollama's form, `{"error": "…"}`. Pure."""

from __future__ import annotations

import msgspec

from server.openai.errors import ApiError

PATHS = frozenset(
    f"/api/{name}"
    for name in (
        *("chat", "generate", "embed", "embeddings", "tags", "ps", "show", "pull", "delete", "version"),
        *("create", "copy", "push", "blobs", "status", "me", "signout"),
    )
)
"""Errors of these paths are in Ollama's form. Others below `/api` are asked for by clients of OpenAI's whose
base URL is wrong."""
BLOBS = "/api/blobs/"
"""Those below this path are, too."""


def from_api_error(error: ApiError) -> bytes:
    """Return the body of the response: the words, with the name of the field in them."""
    message, param = error.body.message, error.body.param
    if error.status == 400 and param is not None and param not in message:
        message = f"{param}: {message}"
    return msgspec.json.encode({"error": message})
