"""The tools that read, write and edit one file. They run in the child process."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from server.toolbox.builtin.arguments import Arguments
from server.toolbox.tool import ToolFailure

READ_BYTES = 256 << 10
"""Most bytes of a file that one call reads."""
EDIT_BYTES = 16 << 20
"""The largest file that is edited."""
_LAST_LINE = (1 << 31) - 1


def read_file(arguments: Arguments) -> dict[str, Any]:
    """Return a file's lines from `start_line` to `end_line`, with their numbers if `append_loc` is set."""
    path = arguments.path()
    first = arguments.whole("start_line", 1, 1, _LAST_LINE)
    last = arguments.whole("end_line", -1, -1, _LAST_LINE)
    numbered = arguments.flag("append_loc")
    lines: list[str] = []
    n_bytes = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number < first:
                    continue
                if last != -1 and number > last:
                    break
                n_bytes += len(line)
                if n_bytes > READ_BYTES:
                    raise ToolFailure(
                        f"{path} has more than {READ_BYTES} bytes from line {first} on; ask for fewer lines"
                        " with start_line and end_line"
                    )
                text = line.decode("utf-8", errors="replace")
                lines.append(f"{number}→ {text}" if numbered else text)
    except OSError as error:
        raise _refusal(path, error) from error
    return {"plain_text_response": "".join(lines)}


def write_file(arguments: Arguments) -> dict[str, Any]:
    """Write a whole file, and the folders that it lies in."""
    path, content = arguments.path(), arguments.text("content").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise _refusal(path, error) from error
    return {"result": "file written successfully", "path": str(path), "bytes": len(content)}


def edit_file(arguments: Arguments) -> dict[str, Any]:
    """Replace texts of a file, each of which is in it once, all or none."""
    path = arguments.path()
    try:
        if path.stat().st_size > EDIT_BYTES:
            raise ToolFailure(f"{path} has more than {EDIT_BYTES} bytes; write it anew")
        before = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise _refusal(path, error) from error
    except UnicodeDecodeError as error:
        raise ToolFailure(f"{path} is no text in UTF-8; it can't be edited") from error
    edits = _spans(before, arguments)
    parts, position = [], 0
    for begin, end, new in edits:
        parts += [before[position:begin], new]
        position = end
    after = "".join([*parts, before[position:]])
    if after == before:
        raise ToolFailure("no changes made: the new texts are the old ones")
    try:
        path.write_bytes(after.encode())
    except OSError as error:
        raise _refusal(path, error) from error
    return {"result": "file edited successfully", "path": str(path), "edits_applied": len(edits)}


def _spans(text: str, arguments: Arguments) -> list[tuple[int, int, str]]:
    """Return where each edit's old text begins and ends, in order, with the new text."""
    spans = []
    for number, edit in enumerate(arguments.objects("edits")):
        each = Arguments(edit, None)
        old, new = each.text("old_text"), each.text("new_text")
        begin = text.find(old) if old else -1
        if begin == -1:
            raise ToolFailure(f"edits[{number}].old_text is {'not in the file' if old else 'empty'}")
        if text.find(old, begin + 1) != -1:
            raise ToolFailure(
                f"edits[{number}].old_text is not unique: the file has it more than once; take more of the"
                " text around it"
            )
        spans.append((begin, begin + len(old), new))
    spans.sort()
    for (_, end, _), (begin, _, _) in pairwise(spans):
        if begin < end:
            raise ToolFailure("two edits overlap: make one of them")
    return spans


def _refusal(path: Path, error: OSError) -> ToolFailure:
    return ToolFailure(f"{path}: {error.strerror or error}")
