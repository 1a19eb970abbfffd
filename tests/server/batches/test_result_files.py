"""The files of results: what a dead server has left of them, and what a full disk does."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.errors import DiskFull
from server.batches.records import Counts
from server.batches.result_files import Response, Result, ResultError, ResultFiles


def answered(custom_id: str, status: int = 200) -> Result:
    response = Response(status_code=status, request_id="req_1", body=msgspec.Raw(b'{"a":1}'))
    return Result(id="batch_req_1", custom_id=custom_id, response=response)


def files_in(folder: Path) -> ResultFiles:
    return ResultFiles(folder / "output", folder / "errors")


def test_a_result_is_one_line_for_every_reader(tmp_path: Path) -> None:
    body = msgspec.Raw('{"a":"\x85\u2028\u2029"}'.encode())
    files = files_in(tmp_path)
    files.append(
        [Result(id="r", custom_id="a", response=Response(status_code=200, request_id="req_1", body=body))]
    )
    files.close()
    (line,) = (tmp_path / "output").read_text("utf-8").splitlines()
    assert msgspec.json.decode(line)["response"]["body"] == {"a": "\x85\u2028\u2029"}


def test_results_go_to_the_file_that_they_belong_to(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    not_run = Result(
        id="r", custom_id="c", response=None, error=ResultError(code="batch_expired", message="Too late.")
    )
    files.append([answered("a"), answered("b", 400), not_run])
    assert files.counts(5) == Counts(total=5, completed=1, failed=2)
    files.close()
    (output,) = (tmp_path / "output").read_bytes().splitlines()
    assert msgspec.json.decode(output) == {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "req_1", "body": {"a": 1}},
        "error": None,
    }
    assert (tmp_path / "errors").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("rest", [b"", b'{"custom_id":"z","resp', b'{"custom_id":"z"}', b"\0" * 100 + b"\n"])
def test_what_isnt_whole_is_cut_off(tmp_path: Path, rest: bytes) -> None:
    files = files_in(tmp_path)
    files.append([answered("a"), answered("b")])
    files.close()
    whole = (tmp_path / "output").read_bytes()
    (tmp_path / "output").write_bytes(whole + rest)
    files = files_in(tmp_path)
    assert files.answered() == {"a", "b"}
    files.append([answered("c")])
    files.close()
    content = (tmp_path / "output").read_bytes()
    assert content.startswith(whole)
    assert [msgspec.json.decode(each)["custom_id"] for each in content.splitlines()] == ["a", "b", "c"]


def test_a_file_without_results_is_none(tmp_path: Path) -> None:
    files_in(tmp_path).close()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, real = files_in(tmp_path), os.write
    files.append([answered("a")])

    def full(fd: int, data: Any) -> int:
        if len(data) <= 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, bytes(data)[:50])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DiskFull, match=r"No space left on device.*free some space"):
            files.append([answered("b"), answered("c")])
    assert files.answered() == {"a"}
    files.append([answered("b")])
    files.close()
    assert (tmp_path / "output").read_bytes().count(b"\n") == 2
