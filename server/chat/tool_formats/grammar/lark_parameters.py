"""Lark expressions of a call's arguments that aren't written as one JSON object. Pure.

Parameters come in the schema's order; optional ones may be left out. A value that may be any text ends
at the first mark of its end; `pattern`, lengths, `enum` and `const` of texts are held, `format` isn't.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.loose_keywords import is_held
from server.chat.tool_formats.reading.argument_values import branches
from server.chat.tools import Tool

_MAX_LENGTH = 20_000
"""Longer bounds of a text's length are not held: the grammar would take too much memory."""
_ANY = {"type": ["string", "number", "boolean", "object", "array", "null"]}


def parameters(tool: Tool) -> list[tuple[str, Any, bool]]:
    """Return (name, schema, is required) of each argument, in the schema's order."""
    properties = tool.parameters.get("properties")
    known = dict(properties) if isinstance(properties, Mapping) else {}
    required = [name for name in tool.parameters.get("required") or () if isinstance(name, str)]
    names = [*known, *(name for name in required if name not in known)]
    return [(name, known.get(name, {}), name in required) for name in names]


def elements(tool: Tool, prefix: str, write: Callable[[str, str], str], end: str) -> tuple[str, list[str]]:
    """Return the expression of a tool's arguments as elements, and its rules, named with `prefix`.

    `write` makes an element's expression of a name and its value's; the value's includes the text `end`.
    """
    found: list[str] = []
    rules: list[str] = []
    for place, (name, schema, required) in enumerate(parameters(tool)):
        value, more = text_value(tool, schema, f"{prefix}_{lark.letters(place)}", end)
        rules += more
        found.append(f"({write(name, value)}){'' if required else '?'}")
    return " ".join(found), rules


def text_value(tool: Tool, schema: object, rule: str, end: str) -> tuple[str, list[str]]:
    """Return the expression of a value written plainly, and of the text `end` behind it, and its rules."""
    kinds = list(branches(schema, tool.parameters))
    if any(not one or one.get("type") is None for one in kinds):
        kinds = [{"type": "string"}]
    found: list[str] = []
    rules: list[str] = []
    for place, one in enumerate(kinds):
        if one.get("type") != "string":
            found.append(f"{_plain(one, tool)} {lark.quoted(end)}")
        elif "const" in one or "enum" in one:
            values = [one["const"]] if "const" in one else one["enum"]
            texts = [lark.quoted(value + end) for value in values if isinstance(value, str)]
            found.append(lark.choice(texts))
        else:
            name = f"{rule}_{lark.letters(place)}"
            found.append(name)
            rules.append(f"{name}[lazy]: {_text(one, end.strip())} {lark.quoted(end)}")
    return lark.choice(found), rules


def keywords(tool: Tool, *, between: str = ", ") -> str:
    """Return the expression of a tool's arguments as Python writes them: `key="text", other=1`.

    Texts are JSON's, within double quotes. A comma stands between two arguments only, so the expression has a
    branch for each that may be the first.
    """
    known = [
        (f"{lark.quoted(name + '=')} {_python(schema, tool)}", required)
        for name, schema, required in parameters(tool)
    ]
    found = ""
    rest = ""  # the expression of all arguments behind, each with its comma
    for text, required in reversed(known):
        alone = f"{text} {rest}"
        found = alone if required or not found else f"({alone} | {found})"
        if not required and not rest.strip():
            found = f"({alone})?"
        with_comma = f"{lark.quoted(between)} {text}"
        rest = f"{with_comma if required else f'({with_comma})?'} {rest}"
    return found


def _python(schema: object, tool: Tool) -> str:
    return lark.choice([_plain(one, tool) for one in branches(schema, tool.parameters)])


def _plain(one: Mapping[str, Any], tool: Tool) -> str:
    """Return the expression of a value that is no free text; words may be Python's, too."""
    if one.get("type") == "boolean" and "const" not in one and "enum" not in one:
        return '("true" | "false" | "True" | "False")'
    if one.get("type") == "null":
        return '("null" | "None")'
    return lark.json_rule(lark.part_schema(one or _ANY, tool))


def _text(one: Mapping[str, Any], end: str) -> str:
    """Return the terminal of a text that `one` allows and that hasn't the mark `end`."""
    least, most = one.get("minLength", 0), one.get("maxLength")
    pattern = one.get("pattern")
    any_text = r"(.|\n)*"
    found = [f"/{any_text}/", f"~/{any_text}{lark.escaped(end)}{any_text}/"]
    if isinstance(pattern, str) and is_held(pattern):
        begins, ends = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith(r"\$")
        inner = lark.in_slashes(pattern[int(begins) : len(pattern) - int(ends)])
        found.append(f"/{'' if begins else any_text}({inner}){'' if ends else any_text}/")
    bounded = isinstance(most, int) and most <= _MAX_LENGTH
    if bounded or (isinstance(least, int) and 0 < least <= _MAX_LENGTH):
        found.append(rf"/(.|\n){{{least},{most if bounded else ''}}}/")
    return f"({' & '.join(found)})"
