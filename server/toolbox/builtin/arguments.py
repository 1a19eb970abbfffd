"""`Arguments`: the arguments of a call, checked as they are read; what a model may name in a path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.toolbox.tool import ToolFailure


class Arguments:
    """A call's arguments by name. Each reader raises ToolFailure for a value of another type."""

    def __init__(self, values: Mapping[str, Any], cwd: str | None) -> None:
        self._values = values
        self.cwd = Path(cwd).expanduser() if cwd else Path.cwd()

    def text(self, name: str, default: str | None = None) -> str:
        value = self._values.get(name, default)
        if not isinstance(value, str):
            raise ToolFailure(f"{name} is missing" if value is None else f"{name} must be a text")
        return value

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        value = self._values.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ToolFailure(f"{name} must be a whole number")
        if not least <= value <= most:
            raise ToolFailure(f"invalid {name}: {value}; it is {least} to {most}")
        return value

    def flag(self, name: str) -> bool:
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise ToolFailure(f"{name} must be true or false")
        return value

    def objects(self, name: str) -> list[Mapping[str, Any]]:
        value = self._values.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
            raise ToolFailure(f"{name} must be an array of objects, and not empty")
        return value

    def path(self, name: str = "path") -> Path:
        """Return the path that an argument names, below the call's folder unless it is absolute."""
        text = self.text(name)
        if not text or "\0" in text:
            raise ToolFailure(f"{name} is no path")
        return self.cwd / Path(text).expanduser()
