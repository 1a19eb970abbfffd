from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import ConfigError
from server.cli.run.message import is_conversation, message_of


class Stdin:
    """Replaces stdin by an open descriptor, which is closed at the end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.open: list[io.TextIOWrapper] = []

    def become(self, descriptor: int) -> None:
        self.open.append(io.TextIOWrapper(os.fdopen(descriptor, "rb")))
        self._monkeypatch.setattr("sys.stdin", self.open[-1])

    def become_a_pipe(self, data: bytes) -> None:
        read, write = os.pipe()
        os.write(write, data)
        os.close(write)
        self.become(read)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stdin]:
    replaced = Stdin(monkeypatch)
    yield replaced
    for file in replaced.open:
        file.close()


def test_arguments_and_a_pipe_are_one_message(stdin: Stdin) -> None:
    stdin.become_a_pipe("zwei\nZeilen ü\n".encode())
    assert message_of(["Translate", "this:"]) == "Translate this:\n\nzwei\nZeilen ü"
    stdin.become_a_pipe(b"a\xffb")
    assert message_of([]) == "a\ufffdb"


def test_a_file_is_read_as_a_pipe(stdin: Stdin, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("from a file")
    stdin.become(os.open(tmp_path / "text", os.O_RDONLY))
    assert message_of([]) == "from a file"


def test_nobody_and_nothing(stdin: Stdin, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin.become(os.open(os.devnull, os.O_RDONLY))
    assert (message_of([]), is_conversation()) == (None, False)
    assert message_of(["hello"]) == "hello"
    stdin.open[-1].close()
    assert message_of([]) is None
    monkeypatch.setattr("sys.stdin", None)
    assert (message_of([]), is_conversation()) == (None, False)


def test_a_terminal_is_a_conversation(stdin: Stdin) -> None:
    ours, theirs = pty.openpty()
    stdin.become(theirs)
    assert (message_of([]), is_conversation()) == (None, True)
    assert message_of(["hello"]) == "hello"
    os.close(ours)


@pytest.mark.parametrize("words", [[], [" "]])
def test_an_empty_message_is_none(stdin: Stdin, words: list[str]) -> None:
    stdin.become_a_pipe(b" \n")
    with pytest.raises(ConfigError, match="the message is empty"):
        message_of(words)
