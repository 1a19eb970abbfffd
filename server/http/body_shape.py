"""`shape_of`: a body without what it says: names of fields, numbers, lengths of texts. Pure."""

from __future__ import annotations

from typing import Any

_PLAIN = frozenset(
    {
        "model",
        "role",
        "type",
        "object",
        "encoding_format",
        "reasoning_effort",
        "effort",
        "service_tier",
        "truncation",
        "prompt_format",
        "reasoning_format",
        "tool_choice",
    }
)
"""Texts of these fields are one of a few words, and shown."""
_OPAQUE = frozenset(
    {
        "properties",
        "$defs",
        "definitions",
        "schema",
        "parameters",
        "input_schema",
        "json_schema",
        "metadata",
        "arguments",
        "logit_bias",
        "chat_template_kwargs",
    }
)
"""These fields hold names of the client's own, which tell as much as texts do."""
_LONGEST_WORD = 64
_DEEPEST = 12
_MOST_ENTRIES = 64


def shape_of(value: Any, name: str = "", depth: int = 0) -> Any:
    """Return the shape of a JSON value; `name` is the field that has it."""
    if isinstance(value, str):
        if name in _PLAIN and len(value) <= _LONGEST_WORD and value.isprintable():
            return value
        return f"<{len(value)} characters>"
    if isinstance(value, dict):
        if name in _OPAQUE or depth >= _DEEPEST:
            return f"<object of {len(value)}>"
        return _cut({key[:_LONGEST_WORD]: shape_of(each, key, depth + 1) for key, each in value.items()})
    if isinstance(value, list):
        if depth >= _DEEPEST or not any(isinstance(each, dict) for each in value):
            return f"<list of {len(value)}>"  # of texts or of token ids
        shown = [shape_of(each, name, depth + 1) for each in value[:_MOST_ENTRIES]]
        n_more = len(value) - len(shown)
        return [*shown, f"<{n_more} more>"] if n_more else shown
    return value


def _cut(fields: dict[str, Any]) -> dict[str, Any]:
    if len(fields) <= _MOST_ENTRIES:
        return fields
    return dict(list(fields.items())[:_MOST_ENTRIES]) | {"…": f"<{len(fields) - _MOST_ENTRIES} more>"}
