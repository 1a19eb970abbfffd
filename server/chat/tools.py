"""The tools that a request offers, and which of them the answer may or must call. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function that the model may call."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    """The JSON schema of its arguments; empty: any object."""
    strict: bool = False
    """Calls are held to the whole schema, or the request is refused; else as far as grammars can."""
    path: str = ""
    """The client's name of the schema, for errors; filled where `strict` is."""

    def definition(self) -> dict[str, Any]:
        """Return OpenAI's object of the tool, as chat templates read it."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which calls an answer may have."""

    mode: Literal["auto", "none", "required"] = "auto"
    """`none`: no calls; `required`: at least one call, and no content before it."""
    names: tuple[str, ...] = ()
    """The tools that may be called; empty: all. A tool that the client names is `required` and its name."""
    parallel: bool = True
    """If false the answer has at most one call."""

    def callable_tools(self, tools: Sequence[Tool]) -> list[Tool]:
        """Return those of `tools` that the answer may call."""
        if self.mode == "none":
            return []
        return [tool for tool in tools if not self.names or tool.name in self.names]
