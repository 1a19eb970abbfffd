"""`Tool`: what a model can call and this server runs; `ToolFailure`: why a call came to nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Tell = Callable[[str], None]
"""It is called with each part of an output, as it comes."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool."""

    arguments: Mapping[str, Any]
    cwd: str | None = None
    """The folder below which relative paths are; None: the server's own."""
    tell: Tell | None = None


class ToolFailure(Exception):
    """A call came to nothing; the message is for the model that made it."""


class UnknownTool(Exception):
    """There is no tool of that name."""


class Tool(ABC):
    """One tool, as `GET /tools` lists it and `POST /tools` calls it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """A JSON schema of an object."""
    kind: str
    """`builtin` or `mcp`."""
    writes: bool
    """True if it may change something."""
    streams: bool = False
    """True if it tells its output while it comes."""

    @abstractmethod
    async def call(self, call: ToolCall) -> dict[str, Any]:
        """Run it and return its result. Raises ToolFailure."""

    def document(self) -> dict[str, Any]:
        """Return what clients learn of it; `definition` has the form of a chat's tools."""
        return {
            "display_name": self.name,
            "tool": self.name,
            "type": self.kind,
            "permissions": {"write": self.writes},
            "uses_cwd": self.kind == "builtin",
            "definition": {
                "type": "function",
                "function": {
                    "name": self.name,
                    "description": self.description,
                    "parameters": dict(self.parameters),
                },
            },
        }
