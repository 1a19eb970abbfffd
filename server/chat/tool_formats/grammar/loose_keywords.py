"""`note_loose`: the keywords of a tool's schema that formats without JSON arguments don't hold. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from server.chat.tool_formats.tool_format import GrammarJob
from server.chat.tools import Tool

_OF_THE_OBJECT = (
    *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "const", "enum", "$ref", "$dynamicRef"),
    *("dependentRequired", "dependentSchemas", "dependencies", "minProperties", "maxProperties"),
    *("patternProperties", "propertyNames", "unevaluatedProperties"),
)
"""They say something of all arguments together, which stand in elements of their own."""
_OF_A_TEXT = ("format", "contentEncoding", "contentMediaType")
_LOOKS_AROUND = re.compile(r"\(\?|\\[bBAZkpPuxc1-9]|(?<!\\)[$]|(?<![\\\[])\^")
"""The grammar's regular expressions don't have these, or read them otherwise."""


def is_held(pattern: str) -> bool:
    """Return True if the grammar's regular expressions read a text's pattern as JSON Schema does."""
    inner = pattern.removeprefix("^").removesuffix("$")
    try:
        re.compile(inner)
    except (re.error, RecursionError, OverflowError):
        return False
    return _LOOKS_AROUND.search(inner) is None


def note_loose(job: GrammarJob, tool: Tool) -> None:
    """Name in `job.left_out` the keywords of a tool's schema that only JSON arguments are held to."""
    job.left_out.extend(f"{tool.path or tool.name}.{keyword}" for keyword in _loose(tool.parameters))


def _loose(schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (keyword for keyword in _OF_THE_OBJECT if keyword in schema)
    properties = schema.get("properties")
    for name, found in (properties if isinstance(properties, Mapping) else {}).items():
        if not isinstance(found, Mapping):
            continue
        kinds = found.get("type", "string")
        if kinds != "string" and "string" not in kinds:
            continue
        yield from (f"properties.{name}.{keyword}" for keyword in _OF_A_TEXT if keyword in found)
        if isinstance(found.get("pattern"), str) and not is_held(found["pattern"]):
            yield f"properties.{name}.pattern"
        for keyword in ("not", "if", "allOf"):
            if keyword in found:
                yield f"properties.{name}.{keyword}"
