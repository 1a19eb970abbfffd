"""`Toolbox`: all tools that this server runs, by name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Self

from server.config import ServerConfig
from server.toolbox.builtin.tools import BUILTIN
from server.toolbox.mcp_config import read_servers
from server.toolbox.mcp_server import McpServer
from server.toolbox.tool import Tool, UnknownTool

logger = logging.getLogger("corral.tools")


class Toolbox:
    """The built-in tools that are allowed, and those of MCP servers, which are asked once."""

    def __init__(self, builtin: Sequence[Tool], servers: Sequence[McpServer]) -> None:
        self._servers = servers
        self._tools = {tool.name: tool for tool in builtin}
        self._asked: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, config: ServerConfig) -> Self | None:
        """Return what the settings allow; None: no tools at all."""
        servers = {} if config.mcp_servers is None else read_servers(config.mcp_servers)
        if not config.tools and not servers:
            return None
        return cls(
            [tool for tool in BUILTIN if tool.name in config.tools or "all" in config.tools],
            [McpServer(name, settings) for name, settings in servers.items()],
        )

    def start(self) -> None:
        """Begin to ask the MCP servers for their tools."""
        self._asked = asyncio.create_task(self._ask())

    async def list(self) -> list[Tool]:
        """Return all tools, once every MCP server has said its own or failed to."""
        if self._asked is not None:
            await asyncio.shield(self._asked)
        return list(self._tools.values())

    async def find(self, name: str) -> Tool:
        """Return a tool. Raises UnknownTool."""
        known = {tool.name: tool for tool in await self.list()}
        if name not in known:
            raise UnknownTool(name)
        return known[name]

    async def close(self) -> None:
        """End the MCP servers."""
        if self._asked is not None:
            self._asked.cancel()
        await asyncio.gather(*(server.close() for server in self._servers))

    async def _ask(self) -> None:
        for tools in await asyncio.gather(*(server.tools() for server in self._servers)):
            for tool in tools:
                if tool.name in self._tools:
                    logger.warning("two tools are called %s; the second is left out", tool.name)
                else:
                    self._tools[tool.name] = tool
