"""`error_response`: an error as the response that every route and every middleware answers with.

The one place that chooses the protocol of an error: OpenAI's, but for requests of Anthropic's and Ollama's
clients and those of the Open Inference Protocol, which read nothing else, and llama-server's where the server
follows that (`--dialect`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.anthropic.errors import PATHS, VERSION_HEADER, from_api_error
from server.hosting import text_answer
from server.http.access_log import new_request_id, record_of
from server.llama_server.errors import native_error
from server.ollama import errors as ollama_errors
from server.openai.errors import ApiError


def error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the error with its own headers and those given, in the form that its request's client reads."""
    return _ErrorResponse(error, headers or {})


def is_anthropic(path: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return True for a request of a client that speaks Anthropic's protocol; names are in lower case."""
    below = any(path == known or path.startswith(f"{known}/") for known in PATHS)
    return below or any(name == VERSION_HEADER for name, _ in headers)


def is_ollama(path: str) -> bool:
    """Return True for a request of a client that speaks Ollama's protocol."""
    return path in ollama_errors.PATHS or path.startswith(ollama_errors.BLOBS)


def is_inference_protocol(path: str) -> bool:
    """Return True for a request of a client that speaks the Open Inference Protocol."""
    return path == "/v2" or path.startswith(("/v2/models/", "/v2/health/"))


def is_native(scope: Scope) -> bool:
    """Return True where the server was started to follow llama-server (`--dialect`)."""
    api = getattr(scope["app"].state, "api", None) if "app" in scope else None
    return api is not None and api.config.dialect == "llama-server"


def closing_error(error: ApiError, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the whole HTTP response that refuses a request before any application has it.

    `target` and `headers` are what has come of its head. The connection is closed behind it.
    """
    status, body = error.status, error.json()
    path = target.partition(b"?")[0].decode("latin-1")
    if is_ollama(path):
        body = ollama_errors.from_api_error(error)
    elif is_inference_protocol(path):
        body = text_answer.words(error)
    elif is_anthropic(path, headers):
        other = from_api_error(error, new_request_id())
        status, body = other.status, other.json
    lines = [f"HTTP/1.1 {status} {'Overloaded' if status == 529 else HTTPStatus(status).phrase}"]
    more = {
        **error.headers(),
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    lines += [f"{name}: {value}" for name, value in more.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _ErrorResponse(Response):
    """It knows its request, and so the form, when it is sent."""

    def __init__(self, error: ApiError, headers: Mapping[str, str]) -> None:
        super().__init__(error.json(), error.status, {**error.headers(), **headers}, "application/json")
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_anthropic(scope["path"], scope["headers"]):
            error = from_api_error(self._error, record_of(scope).id)
            self.status_code, self.body = error.status, error.json
            self.headers["content-length"] = str(len(error.json))
        elif is_ollama(scope["path"]):
            self.body = ollama_errors.from_api_error(self._error)
            self.headers["content-length"] = str(len(self.body))
        elif is_inference_protocol(scope["path"]):
            self.body = text_answer.words(self._error)
            self.headers["content-length"] = str(len(self.body))
        elif is_native(scope):
            self.body = native_error(self._error)
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)
