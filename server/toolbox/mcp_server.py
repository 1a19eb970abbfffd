"""`McpServer`: an MCP server by its settings, started when it is needed and again after it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from server.toolbox.mcp_config import McpServerSettings
from server.toolbox.mcp_session import McpSession
from server.toolbox.tool import Tool, ToolCall, ToolFailure

logger = logging.getLogger("corral.tools")


class McpServer:
    """One server; all calls share one process of it."""

    def __init__(self, name: str, settings: McpServerSettings) -> None:
        self.name = name
        self._settings = settings
        self._session: McpSession | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    async def tools(self) -> list[Tool]:
        """Return the tools of the server; none, with a line in the log, if it can't be asked."""
        try:
            described = await (await self._running()).tools()
        except ToolFailure as error:
            logger.warning("%s; its tools are left out", error)
            return []
        return [McpTool(self, each) for each in described if isinstance(each.get("name"), str)]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of one of its tools. Raises ToolFailure."""
        session = await self._running()
        request = {"name": tool, "arguments": dict(arguments)}
        return await session.ask("tools/call", request, self._settings.timeout_ms / 1000)

    async def close(self) -> None:
        """End its process; it isn't started again."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _running(self) -> McpSession:
        async with self._starting:
            if self._closed:
                raise ToolFailure(f"MCP server {self.name}: this server is stopping")
            if self._session is None or not self._session.is_alive:
                if self._session is not None:
                    await self._session.close()
                    self._session = None
                self._session = await McpSession.start(self.name, self._settings)
            return self._session


class McpTool(Tool):
    """One tool of an MCP server, called SERVER_TOOL."""

    kind = "mcp"
    writes = True

    def __init__(self, server: McpServer, described: Mapping[str, Any]) -> None:
        self._server = server
        self._theirs: str = described["name"]
        self.name = f"{server.name}_{self._theirs}"
        self.description = str(described.get("description") or "")
        schema = described.get("inputSchema")
        self.parameters = {"type": "object", "properties": {}, **(schema if isinstance(schema, dict) else {})}
        notes = described.get("annotations")
        self.writes = not (isinstance(notes, dict) and notes.get("readOnlyHint") is True)

    async def call(self, call: ToolCall) -> dict[str, Any]:
        result = await self._server.call(self._theirs, call.arguments)
        parts = [part for part in result.get("content") or [] if isinstance(part, dict)]
        text = "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
        if result.get("isError"):
            raise ToolFailure(text or "the tool failed and says no reason")
        answer: dict[str, Any] = {"plain_text_response": text}
        if any(part.get("type") != "text" for part in parts):
            answer["content"] = parts
        if result.get("structuredContent") is not None:
            answer["result"] = result["structuredContent"]
        return answer
