"""The backend of `corral chat --url`: the model of a running server, through its HTTP API."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, NamedTuple

from models.errors import ConfigError, CorralError, ModelNotFound
from models.store.short_names import full_name
from server.cli.chat.backend import ChatOptions
from server.clients.trust import trust, untrusted

TIMEOUT_S = 600.0
"""A server may be silent for this many seconds."""
_THINKS, _ANSWERS = "<think>\n", "\n</think>\n\n"
"""The texts around thoughts, as most models write them."""


class RemoteBackend:
    """A model of a running server. A thread reads each response and hands its lines to the event loop."""

    def __init__(self, url: str, api_key: str | None, model: str | None, ca: Path | None = None) -> None:
        """`ca`: a file of certificates that are trusted besides the system's. Raises ConfigError."""
        self._base = base_of(url)
        self._trust = trust(ca) if self._base.startswith("https:") else None
        self._api_key = api_key
        self._model = model

    async def start(self) -> str:
        """Choose the model; a short name of one that is listed will do.

        Raises CorralError, ModelNotFound if there is none to talk to, InvalidReference for a name of several.
        """
        try:
            listing = await asyncio.to_thread(self._get_json, "/models")
            names = [model["id"] for model in listing["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise CorralError(
                f"what answers at {self._base} is no server with OpenAI's API; check --url"
            ) from error
        if self._model is None:
            if not names:
                raise ModelNotFound(
                    f"the server at {self._base} has no models; make one: corral quantize demo"
                )
            self._model = names[0]
        elif self._model not in names:
            self._model = full_name(self._model, names)
        return str(self._model)

    async def answer(self, messages: list[dict[str, str]], options: ChatOptions) -> AsyncGenerator[str, None]:
        body = {"model": self._model, "messages": messages, "stream": True, **options.to_request()}
        lines: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        response = await asyncio.to_thread(self._open, "/chat/completions", body)
        loop = asyncio.get_running_loop()
        reader = threading.Thread(target=_read_lines, args=(response, loop, lines), daemon=True)
        reader.start()
        thinks = False
        try:
            while (line := await lines.get()) is not None:
                if isinstance(line, Exception):
                    raise CorralError(f"the connection to {self._base} broke ({line}); ask again") from line
                delta = delta_of(line)
                if delta is None:
                    continue
                if delta.is_thought != thinks:
                    thinks = delta.is_thought
                    yield _THINKS if thinks else _ANSWERS
                yield delta.text
        finally:
            # A closed connection makes the server stop; the thread then ends by itself.
            await asyncio.to_thread(_disconnect, response)

    async def stop(self) -> None:
        pass

    def _get_json(self, path: str) -> Any:
        with self._open(path, None) as response:
            return json.load(response)

    def _open(self, path: str, body: dict[str, Any] | None) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, headers)  # noqa: S310 - the user's own URL
        try:
            opened = urllib.request.urlopen(  # noqa: S310 - the user's own URL
                request, timeout=TIMEOUT_S, context=self._trust
            )
        except urllib.error.HTTPError as error:
            with error:
                raise CorralError(f"the server at {self._base}: {message_of(error.read(), error)}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if (distrust := untrusted(self._base, reason)) is not None:
                raise distrust from error
            raise CorralError(f"no answer from {self._base} ({reason}); is the server running?") from error
        assert isinstance(opened, http.client.HTTPResponse)
        return opened


def base_of(url: str) -> str:
    """Return `http://HOST:PORT/v1` of a URL with or without http:// and /v1. Raises ConfigError."""
    base = (url if "://" in url else f"http://{url}").rstrip("/")
    try:
        parts = urllib.parse.urlsplit(base)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in base):
        raise ConfigError(f"{url} is no URL of a server; write http://HOST:PORT")
    return base if base.endswith("/v1") else f"{base}/v1"


class TextDelta(NamedTuple):
    """New text of an answer, or of the thoughts before it."""

    text: str
    is_thought: bool = False


def delta_of(line: bytes) -> TextDelta | None:
    """Return the text in one line of the event stream, if any. Raises CorralError for an error event."""
    if not line.startswith(b"data:"):
        return None
    data = line[len(b"data:") :].strip()
    if not data or data == b"[DONE]":
        return None
    event = json.loads(data)
    if "error" in event:
        raise CorralError(str(event["error"].get("message", event["error"])))
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta", {})
    if delta.get("content"):
        return TextDelta(delta["content"])
    thoughts = delta.get("reasoning_content") or delta.get("reasoning")
    return TextDelta(thoughts, is_thought=True) if thoughts else None


def message_of(body: bytes, error: urllib.error.HTTPError) -> str:
    """Return the message of an error response, in whatever form it is."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code} {error.reason}"


def _disconnect(response: http.client.HTTPResponse) -> None:
    """Close the connection under the reading thread."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        connection = socket.socket(fileno=os.dup(response.fileno()))
        with connection:
            connection.shutdown(socket.SHUT_RDWR)


def _read_lines(
    response: http.client.HTTPResponse,
    loop: asyncio.AbstractEventLoop,
    lines: asyncio.Queue[bytes | Exception | None],
) -> None:
    """Read in a thread: put every line into `lines`, then None, or the error."""
    end: Exception | None = None
    try:
        for line in response:
            loop.call_soon_threadsafe(lines.put_nowait, line)
    except (OSError, ValueError, http.client.HTTPException) as error:
        end = error
    if not loop.is_closed():
        loop.call_soon_threadsafe(lines.put_nowait, end)
