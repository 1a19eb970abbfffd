"""`McpSession`: one running MCP server, spoken to in lines of JSON-RPC over its standard streams.

The protocol is https://modelcontextprotocol.io/specification/2025-06-18; of it tools are used. A server's own
requests are answered (`ping`), or refused, since nothing else was offered to it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from models.version import VERSION
from server.toolbox.mcp_config import McpServerSettings
from server.toolbox.tool import ToolFailure

logger = logging.getLogger("corral.tools")

PROTOCOL = "2025-06-18"
START_S = 30.0
"""A server has so many seconds to begin and to list its tools."""
_LINE_BYTES = 32 << 20
_PAGES = 64
_ENDING_S = 1.0
_METHOD_NOT_FOUND = -32601


class SessionEnded(ToolFailure):
    """The server's program has ended, or can't be spoken to any more."""


class McpSession:
    """A server's process. Requests may be under way at the same time; each is answered by its id."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 1
        self._last_words: deque[str] = deque(maxlen=3)
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._read_log())]

    @classmethod
    async def start(cls, name: str, settings: McpServerSettings) -> Self:
        """Start the program and shake hands. Raises ToolFailure."""
        try:
            process = await asyncio.create_subprocess_exec(
                settings.command,
                *settings.args,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=settings.cwd,
                env={**os.environ, **settings.env},
                limit=_LINE_BYTES,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ToolFailure(f"MCP server {name}: can't start {settings.command} ({error})") from error
        session = cls(name, process)
        try:
            hello = {
                "protocolVersion": PROTOCOL,
                "capabilities": {},
                "clientInfo": {"name": "corral", "version": VERSION},
            }
            await session.ask("initialize", hello, START_S)
            await session._send({"method": "notifications/initialized"})
        except BaseException:  # a cancelled start leaves no process either
            await session.close()
            raise
        return session

    @property
    def is_alive(self) -> bool:
        """False once the program has ended or closed its output."""
        return self._process.returncode is None and not self._tasks[0].done()

    async def tools(self) -> list[dict[str, Any]]:
        """Return the server's tools, as it describes them. Raises ToolFailure."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, Any] = {}
        for _ in range(_PAGES):
            page = await self.ask("tools/list", cursor, START_S)
            found += [tool for tool in page.get("tools") or [] if isinstance(tool, dict)]
            if not page.get("nextCursor"):
                break
            cursor = {"cursor": page["nextCursor"]}
        return found

    async def ask(self, method: str, params: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the result of a request. Raises ToolFailure for an error, and for no answer in time."""
        id_ = self._next_id
        self._next_id += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = answer
        try:
            if not self.is_alive:
                raise self._ended()
            await self._send({"id": id_, "method": method, "params": dict(params)})
            result = await asyncio.wait_for(answer, timeout_s)
        except TimeoutError as error:
            await self._cancel(id_)
            raise ToolFailure(
                f"MCP server {self._name}: no answer to {method} within {timeout_s:g} s;"
                " raise timeout_ms, or ask for less"
            ) from error
        except asyncio.CancelledError:
            await self._cancel(id_)
            raise
        finally:
            self._waiting.pop(id_, None)
        return result if isinstance(result, dict) else {}

    async def close(self) -> None:
        """End the program, and all that it has started, at once. Harmless when repeated."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for task in self._tasks:
            task.cancel()
        with suppress(TimeoutError):  # a process that has left the group may hold the pipes
            await asyncio.wait_for(self._process.wait(), _ENDING_S)
        self._fail_all()

    async def _cancel(self, id_: int) -> None:
        with suppress(SessionEnded):
            await self._send({"method": "notifications/cancelled", "params": {"requestId": id_}})

    async def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            await self._process.stdin.drain()
        except (OSError, RuntimeError) as error:
            raise self._ended() from error

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                await self._on_line(line)
        except (ValueError, SessionEnded) as error:
            logger.warning("MCP server %s: a line can't be read: %s", self._name, error)
        finally:
            self._fail_all()

    async def _on_line(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            logger.debug("MCP server %s wrote a line that is no JSON", self._name)
            return
        if not isinstance(message, dict):
            return
        if "method" in message:
            await self._on_request(message)
            return
        id_ = message.get("id")
        answer = self._waiting.get(id_) if isinstance(id_, int) else None
        if answer is None or answer.done():
            return
        if "error" in message:
            error = message["error"]
            text = error.get("message") if isinstance(error, dict) else error
            answer.set_exception(ToolFailure(f"MCP server {self._name}: {text}"))
        else:
            answer.set_result(message.get("result"))

    async def _on_request(self, message: Mapping[str, Any]) -> None:
        if message.get("id") is None:
            return  # a notification
        reply: dict[str, Any] = {"id": message["id"]}
        if message["method"] == "ping":
            reply["result"] = {}
        else:
            reply["error"] = {"code": _METHOD_NOT_FOUND, "message": f"no method {message['method']}"}
        await self._send(reply)

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        with suppress(ValueError):
            while line := await self._process.stderr.readline():
                text = line.decode(errors="replace").strip()[:500]
                self._last_words.append(text)
                logger.debug("MCP server %s: %s", self._name, text)

    def _fail_all(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._ended())

    def _ended(self) -> SessionEnded:
        words = f": {' / '.join(self._last_words)}" if self._last_words else ""
        return SessionEnded(f"MCP server {self._name} has ended{words}")
