"""Settings files as text: JSON with comments and TOML are read, merged with ours, and written. Pure."""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from models.errors import ConfigError
from server.clients.client import Document

_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def content_of(document: Document) -> dict[str, Any]:
    """Return the settings of a file that has nothing else in it."""
    return merged({}, document.content)


def text_of(document: Document, existing: str | None = None) -> str:
    """Return the file's text: what is in it already, with our settings over it.

    Raises ConfigError for an existing text that can't be read.
    """
    before = {} if existing is None else parse(existing, document)
    return render(merged(before, document.content), document.form)


def merged(before: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return `before` with the settings of `change`: tables are merged, None takes a setting out."""
    result = dict(before)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            inner = result.get(key)
            result[key] = merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def parse(text: str, document: Document) -> dict[str, Any]:
    """Return the settings in a file's text. Raises ConfigError."""
    try:
        found = tomllib.loads(text) if document.form == "toml" else json.loads(_plain_json(text) or "{}")
    except ValueError as error:
        form = document.form.upper()
        raise ConfigError(
            f"{document.user_path} is no {form} that can be read ({error}); correct it, or set it aside"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{document.user_path} holds no object with settings; correct it, or set it aside")
    return found


def _plain_json(text: str) -> str:
    """Return the text without comments and trailing commas, which editors allow in their settings."""
    bare = _COMMENT.sub(lambda found: found[1] or " ", text.removeprefix("\ufeff"))
    return _TRAILING_COMMA.sub(lambda found: found[1] or "", bare).strip()


def render(content: Mapping[str, Any], form: str) -> str:
    """Return settings as the text of a file."""
    if form == "json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return "\n".join(_toml_lines(content, ())).strip("\n") + "\n"


def _toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Return a table's lines: its own values first, then the tables in it, each with its heading."""
    values = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in values.items()]
    if path and (lines or not table):
        lines = ["", f"[{'.'.join(map(_toml_key, path))}]", *lines]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += _toml_lines(value, (*path, key))
    return lines


def _toml_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _toml_string(key)


def _toml_value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _toml_string(value)
        case float():
            return repr(value)  # inf and nan are TOML's words, too
        case dt.date() | dt.time():
            return value.isoformat()
        case list():
            return f"[{', '.join(map(_toml_value, value))}]"
        case Mapping():
            pairs = (f"{_toml_key(key)} = {_toml_value(inner)}" for key, inner in value.items())
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        case _:
            return str(value)


def _toml_string(text: str) -> str:
    """Return a basic string: JSON's escapes are TOML's, but for DEL and what JSON writes in two halves."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
