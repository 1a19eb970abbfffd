"""`line_of`: the line of a TOML file in which a value is. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

Path = Sequence[str | int]
"""The way to a value: names of tables and keys, and places in lists."""


def line_of(text: str, path: Path) -> int | None:
    """Return the number of the line that has the value, or else the nearest thing around it; None: neither.

    `text` is valid TOML. A value within an inline table, or a list, has the line of its key.
    """
    best, depth = None, 0
    for number, found in _keys(text):
        n = _common(found, path)
        if n > depth and n in (len(found), len(path)):
            best, depth = number, n
    return best


def path_text(path: Path) -> str:
    """Return the path as TOML has it: `presets."a:b".arms[1].model`."""
    parts: list[str] = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
            continue
        bare = part.isascii() and part.replace("-", "").replace("_", "").isalnum()
        parts.append(f".{part}" if bare else f'."{part}"')
    return "".join(parts).removeprefix(".")


def _common(found: Path, path: Path) -> int:
    n = 0
    for mine, theirs in zip(found, path, strict=False):
        if mine != theirs:
            break
        n += 1
    return n


def _keys(text: str) -> Iterator[tuple[int, list[str | int]]]:
    """Yield each table's header and each key of the file, with its line and its whole path.

    A statement is as many lines as it takes to be TOML by themselves: so brackets and quotes within values
    are never mistaken for anything else.
    """
    table: list[str | int] = []
    counts: dict[tuple[str | int, ...], int] = {}
    lines = text.splitlines(keepends=True)
    begin = 0
    while begin < len(lines):
        end, parsed = _statement(lines, begin)
        if lines[begin].lstrip().startswith("["):
            table = _header(parsed, counts)
            yield begin + 1, table
        elif parsed:
            yield begin + 1, [*table, *_first_path(parsed)[0]]
        begin = end


def _statement(lines: list[str], begin: int) -> tuple[int, dict[str, Any]]:
    """Return the line behind the statement that begins here, and what it says."""
    for end in range(begin + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("".join(lines[begin:end]))
        except tomllib.TOMLDecodeError:
            continue
    return begin + 1, {}


def _header(parsed: dict[str, Any], counts: dict[tuple[str | int, ...], int]) -> list[str | int]:
    """Return the path of a table; one of a list of tables has its place in it at the end.

    Names on the way to it that are such lists mean the last of them.
    """
    names, value = _first_path(parsed)
    path: list[str | int] = []
    for i, name in enumerate(names):
        path.append(name)
        key = tuple(path)
        if i == len(names) - 1 and isinstance(value, list):
            counts[key] = counts.get(key, -1) + 1
        if key in counts:
            path.append(counts[key])
    return path


def _first_path(parsed: dict[str, Any]) -> tuple[list[str], Any]:
    """Return the names of a chain of tables with one key each, and the value at its end."""
    names: list[str] = []
    value: Any = parsed
    while isinstance(value, dict) and len(value) == 1:
        name, value = next(iter(value.items()))
        names.append(name)
    return names, value
