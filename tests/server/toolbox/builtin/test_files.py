from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.toolbox.builtin.arguments import Arguments
from server.toolbox.builtin.files import READ_BYTES, edit_file, read_file, write_file
from server.toolbox.tool import ToolFailure


def args(folder: Path, **values: Any) -> Arguments:
    return Arguments(values, str(folder))


def test_write_edit_and_read(tmp_path: Path) -> None:
    written = write_file(args(tmp_path, path="sub/a.txt", content="one\ntwö\nthree\n"))
    assert (written["bytes"], written["path"]) == (15, str(tmp_path / "sub/a.txt"))
    edits = [{"old_text": "three\n", "new_text": ""}, {"old_text": "one", "new_text": "1"}]
    assert edit_file(args(tmp_path, path="sub/a.txt", edits=edits))["edits_applied"] == 2
    assert read_file(args(Path("/"), path=str(tmp_path / "sub/a.txt")))["plain_text_response"] == "1\ntwö\n"


def test_some_lines_with_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\ntwo\n\xff\nfour")
    part = read_file(args(tmp_path, path="a", start_line=2, end_line=3, append_loc=True))
    assert part["plain_text_response"] == "2→ two\n3→ \ufffd\n"


def test_a_large_file_is_read_in_parts(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x" * (READ_BYTES - 1) + "\nlast\n")
    with pytest.raises(ToolFailure, match="start_line"):
        read_file(args(tmp_path, path="a"))
    assert read_file(args(tmp_path, path="a", start_line=2))["plain_text_response"] == "last\n"


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ([{"old_text": "b", "new_text": "c"}], r"edits\[0\]\.old_text is not unique"),
        ([{"old_text": "aa", "new_text": "c"}], r"not unique"),  # where it overlaps itself, too
        ([{"old_text": "ab", "new_text": "1"}, {"old_text": "bb", "new_text": "2"}], "overlap"),
        ([{"old_text": "z", "new_text": "c"}], "is not in the file"),
        ([{"old_text": "", "new_text": "c"}], "is empty"),
        ([{"old_text": "ab", "new_text": "ab"}], "no changes"),
        ([{"old_text": "ab"}], "new_text is missing"),
        ([], "not empty"),
        ("ab", "array of objects"),
    ],
)
def test_edits_are_all_made_or_none(tmp_path: Path, edits: object, reason: str) -> None:
    (tmp_path / "a").write_text("aaabb")
    with pytest.raises(ToolFailure, match=reason):
        edit_file(args(tmp_path, path="a", edits=edits))
    assert (tmp_path / "a").read_text() == "aaabb"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    edits = [{"old_text": "a", "new_text": "b"}]
    with pytest.raises(ToolFailure, match="No such file"):
        read_file(args(tmp_path, path="a"))
    with pytest.raises(ToolFailure, match="No such file"):
        edit_file(args(tmp_path, path="a", edits=edits))
    with pytest.raises(ToolFailure, match="Is a directory"):
        write_file(args(tmp_path, path=".", content="x"))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "path is missing"),
        ({"path": 1}, "path must be a text"),
        ({"path": "a\0"}, "path is no path"),
        ({"path": "a", "start_line": "1"}, "start_line must be a whole number"),
        ({"path": "a", "start_line": True}, "start_line must be a whole number"),
        ({"path": "a", "start_line": 0}, "invalid start_line: 0"),
        ({"path": "a", "append_loc": 1}, "append_loc must be true or false"),
    ],
)
def test_arguments_of_another_type(tmp_path: Path, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ToolFailure, match=reason):
        read_file(args(tmp_path, **values))
