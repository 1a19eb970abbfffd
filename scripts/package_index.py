"""Package indexes: a package's docstring names its modules, each by the first line of its own docstring.

`make docs` writes them; `--check` and a test find an outdated one. The index is a block of lines
`module.py  line` and `folder/  line` in the docstring of `__init__.py`; the rest of that docstring is its
author's and stays. A package without an index gets one at the docstring's end.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FOLDERS = ("models", "quantize", "server")
"""These folders are the outermost packages that have an index."""

WIDTH = 110
"""A line of an index has at most this many columns."""

_ENTRY = re.compile(r"\w+(\.py|/)  ")
_CONTINUATION = re.compile(r" {5,}\S")
_LITERAL = re.compile(r'([rR]?)"""(.*)"""', re.DOTALL)


class DocstringMissing(Exception):
    """A package or module has no docstring in triple double quotes, so no index can be made."""


def package_files(root: Path = ROOT) -> list[Path]:
    """Return the `__init__.py` of every package that has an index."""
    return [path for folder in FOLDERS for path in sorted((root / folder).rglob("__init__.py"))]


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring. Raises DocstringMissing."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise DocstringMissing(f"{path} has no docstring; its first line is its entry in the package's index")
    return docstring.splitlines()[0]


def entries(package: Path) -> dict[str, str]:
    """Return the modules of the package in folder `package` and their first lines, folders last."""
    modules = {path.name: path for path in sorted(package.glob("*.py")) if path.name != "__init__.py"}
    folders = {f"{path.parent.name}/": path for path in sorted(package.glob("*/__init__.py"))}
    return {name: first_line(path) for name, path in {**modules, **folders}.items()}


def index_lines(lines: Mapping[str, str]) -> list[str]:
    """Return an index as lines of at most `WIDTH` columns; the second lines of long entries hang."""
    column = max(map(len, lines), default=0) + 2
    return [
        line
        for name, text in lines.items()
        for line in textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"{name:<{column}}",
            subsequent_indent=" " * column,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def with_index(docstring: Sequence[str], index: Sequence[str]) -> list[str]:
    """Return the lines of a docstring with `index` in place of the index that it has, or at its end."""
    start = next((number for number, line in enumerate(docstring) if _ENTRY.match(line)), len(docstring))
    end = start
    while end < len(docstring) and (_ENTRY.match(docstring[end]) or _CONTINUATION.match(docstring[end])):
        end += 1
    parts = ["\n".join(part).strip("\n") for part in (docstring[:start], index, docstring[end:])]
    return "\n\n".join(part for part in parts if part).splitlines()


def render(path: Path) -> str:
    """Return the text that the `__init__.py` at `path` should have. Raises DocstringMissing."""
    first_line(path)
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    node = ast.parse(source).body[0]
    assert node.end_lineno is not None  # every node of a parsed file has one
    literal = _LITERAL.fullmatch("".join(lines[node.lineno - 1 : node.end_lineno]).strip())
    if literal is None:
        raise DocstringMissing(f"{path} has its docstring in other quotes than triple double ones")
    prefix, text = literal.groups()
    index = index_lines(entries(path.parent))
    if not prefix:
        index = [line.replace("\\", "\\\\") for line in index]
    body = with_index(text.rstrip().splitlines(), index)
    end = "\n" if len(body) > 1 else ""
    docstring = f'{prefix}"""' + "\n".join(body) + f'{end}"""\n'
    return "".join(lines[: node.lineno - 1]) + docstring + "".join(lines[node.end_lineno :])


def outdated(root: Path = ROOT) -> list[Path]:
    """Return every `__init__.py` whose index is not as `render` makes it."""
    return [path for path in package_files(root) if path.read_text(encoding="utf-8") != render(path)]


def main() -> None:
    """Write the outdated indexes, or with `--check` only name them and exit with 1."""
    paths = outdated()
    if "--check" in sys.argv[1:]:
        if paths:
            names = ", ".join(str(path.relative_to(ROOT)) for path in paths)
            sys.exit(f"outdated package indexes: {names}; run: make docs")
        return
    for path in paths:
        path.write_text(render(path), encoding="utf-8")


if __name__ == "__main__":
    main()
