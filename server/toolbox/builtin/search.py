"""The tools that look for files by name, and in files by pattern. They run in the child process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from server.toolbox.builtin.arguments import Arguments
from server.toolbox.tool import ToolFailure

MOST_RESULTS = 100
"""A call returns at most so many entries or matches."""
FILE_BYTES = 8 << 20
"""Larger files aren't searched."""
_LINE_CHARS = 2000
_NEVER_WALKED = frozenset(
    {
        *(".git", ".svn", ".hg", "node_modules", "__pycache__", ".venv", "venv", "build", "dist", "target"),
        *(".cache", ".idea", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox"),
    }
)
"""Folders that are listed, but whose content nobody looks for."""
_KINDS = ("file", "dir", "all")


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    """Below the folder that is searched, with `/` between its parts."""
    is_folder: bool


def file_glob_search(arguments: Arguments) -> dict[str, Any]:
    """List files or folders whose path fits `include` and not `exclude`."""
    base = arguments.path()
    kind = arguments.text("type", "file")
    if kind not in _KINDS:
        raise ToolFailure(f'invalid type: {kind} (expected "file", "dir" or "all")')
    limit = arguments.whole("limit", MOST_RESULTS, 1, 1 << 31)
    fits = _filter(arguments)
    entries = [
        entry
        for entry in _walk(base, arguments.whole("max_depth", 0, 0, 1000))
        if kind in ("all", "dir" if entry.is_folder else "file") and fits(entry.path)
    ]
    shown = entries[: min(limit, MOST_RESULTS)]
    lines = [entry.path + ("/" if entry.is_folder else "") for entry in shown]
    lines += ["", "---", f"Total matches: {len(entries)}"]
    if len(shown) < len(entries):
        lines.append(f"[only the first {len(shown)} are shown; narrow the pattern]")
    return {
        "plain_text_response": "\n".join(lines) + "\n",
        "entries": [{"path": entry.path, "type": "dir" if entry.is_folder else "file"} for entry in shown],
        "base": str(base.resolve()),
    }


def grep_search(arguments: Arguments) -> dict[str, Any]:
    """Look for a pattern in the lines of a file, or of all files below a folder."""
    base, text = arguments.path(), arguments.text("pattern")
    n_around = arguments.whole("context_lines", 0, 0, 100)
    numbered = arguments.flag("return_line_numbers") or n_around > 0
    try:
        flags = re.IGNORECASE if arguments.flag("ignore_case") else re.NOFLAG
        pattern = re.compile(re.escape(text) if arguments.flag("literal") else text, flags)
    except re.error as error:
        raise ToolFailure(f"invalid regex: {error}; or set literal, for a plain text") from error
    lines: list[str] = []
    n_matches = 0
    for path, name in _files(base, arguments):
        content = _lines(path)
        for at, line in enumerate(content):
            if n_matches >= MOST_RESULTS:
                break
            if not pattern.search(line):
                continue
            n_matches += 1
            for near in range(max(0, at - n_around), min(len(content), at + n_around + 1)):
                mark = ":" if near == at else "-"
                lines.append(f"{name}{mark}{f'{near + 1}{mark}' if numbered else ''}{content[near]}")
            if n_around:
                lines.append("--")
    lines += ["", "---", f"Total matches: {n_matches}"]
    if n_matches >= MOST_RESULTS:
        lines.append(f"[the search ended at {MOST_RESULTS} matches; narrow path, pattern or include]")
    return {"plain_text_response": "\n".join(lines) + "\n"}


def _files(base: Path, arguments: Arguments) -> Iterator[tuple[Path, str]]:
    if base.is_file():
        yield base, str(base)
        return
    fits = _filter(arguments)
    for entry in _walk(base, 0):
        if not entry.is_folder and fits(entry.path):
            yield base / entry.path, entry.path


def _lines(path: Path) -> list[str]:
    """Return a text file's lines; none of a file that is too large, isn't text or can't be read."""
    try:
        if path.stat().st_size > FILE_BYTES or not path.is_file():
            return []
        content = path.read_bytes()
    except OSError:
        return []
    if b"\0" in content[:4096]:
        return []
    return [line[:_LINE_CHARS] for line in content.decode("utf-8", errors="replace").splitlines()]


def _walk(base: Path, max_depth: int) -> Iterator[_Entry]:
    """Yield what is below a folder, in order; 0 is any depth. Links to folders aren't followed."""
    if not base.is_dir():
        raise ToolFailure(f"{base}: there is no such folder")
    for folder, folders, files in os.walk(base):
        relative = Path(folder).relative_to(base)
        for name in sorted(folders):
            yield _Entry((relative / name).as_posix(), is_folder=True)
        for name in sorted(files):
            yield _Entry((relative / name).as_posix(), is_folder=False)
        depth = len(relative.parts) + 1
        walked = sorted(name for name in folders if name not in _NEVER_WALKED)
        folders[:] = walked if max_depth == 0 or depth < max_depth else []


def _filter(arguments: Arguments) -> _Filter:
    return _Filter(arguments.text("include", "**"), arguments.text("exclude", ""))


class _Filter:
    """True for paths that fit one pattern and not the other."""

    def __init__(self, include: str, exclude: str) -> None:
        self._include = _pattern(include)
        self._exclude = _pattern(exclude) if exclude else None

    def __call__(self, path: str) -> bool:
        return bool(self._include.fullmatch(path)) and not (self._exclude and self._exclude.fullmatch(path))


def _pattern(glob: str) -> re.Pattern[str]:
    """Return the pattern of a glob: `**` is any number of folders; without `/` it fits names at any depth."""
    parts = PurePosixPath(glob.removeprefix("./")).parts if "/" in glob else ("**", glob)
    text = ""
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        if part == "**":
            text += ".*" if is_last else "(?:.*/)?"
        else:
            text += _part_pattern(part) + ("" if is_last else "/")
    return re.compile(text, re.DOTALL)


def _part_pattern(part: str) -> str:
    """Return the pattern of one name, in which `*`, `?` and `[abc]` mean what they mean in a shell."""
    found = ""
    for piece in re.split(r"(\*+|\?|\[[^\]]+\])", part):
        if piece.startswith("*"):
            found += "[^/]*"
        elif piece == "?":
            found += "[^/]"
        elif piece.startswith("[") and len(piece) > 2:
            inner = piece[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            found += f"[{'^' + inner[1:] if inner[0] == '!' else inner}]"
        else:
            found += re.escape(piece)
    return found
