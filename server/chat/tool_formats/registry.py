"""The tool formats by name, and the one that a chat template's text tells. Pure."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import server.chat.tool_formats.formats as folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.chat.tool_formats.tool_format import ToolFormat


@cache
def tool_formats() -> Mapping[str, ToolFormat]:
    """Return every format of the folder `formats` by its file's name."""
    modules = {found.name: importlib.import_module(f"{folder.__name__}.{found.name}") for found in _files()}
    found = {name: module.FORMAT for name, module in modules.items() if hasattr(module, "FORMAT")}
    return MappingProxyType(found)


def detect(template: str) -> str | None:
    """Return the name of the format in which a model with this chat template writes calls; None: in none."""
    return next((name for name, known in tool_formats().items() if known.matches(template)), None)


def _files() -> list[pkgutil.ModuleInfo]:
    return list(pkgutil.iter_modules(folder.__path__))
