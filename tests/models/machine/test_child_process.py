from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from models.machine.child_process import (
    ChildFailed,
    ChildTimedOut,
    ask_child,
    describe_exit,
    end_child,
    last_line,
)


def sum_of(answer: Any) -> int:
    return int(answer["a"]) + int(answer["b"])


def ask(code: str, timeout_s: float = 30) -> int:
    return ask_child([sys.executable, "-c", code], timeout_s, sum_of)


def test_the_answer_is_parsed() -> None:
    assert ask("print('noise'); print('{\"a\": 1, \"b\": 2}')") == 3


@pytest.mark.parametrize(
    ("code", "text", "returncode"),
    [
        ("import os; os.kill(os.getpid(), 11)", "died of SIGSEGV", -11),
        ("import sys; sys.exit('no such thing')", "failed with status 1: no such thing", 1),
        ("print('plain words')", "answered nonsense: 'plain words", 0),
        ("print('{}')", "answered nonsense: '{}", 0),
        ("print('[1]')", "answered nonsense: '[1]", 0),
        ("pass", "answered nonsense: ''", 0),
    ],
)
def test_a_child_without_an_answer(code: str, text: str, returncode: int) -> None:
    with pytest.raises(ChildFailed) as caught:
        ask(code)
    assert caught.value.text.startswith(text)
    assert caught.value.returncode == returncode


def test_a_child_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(ChildTimedOut, match=r"took longer than 0\.2 s"):
        ask("import time; time.sleep(60)", timeout_s=0.2)


def test_a_child_that_doesnt_start() -> None:
    with pytest.raises(ChildFailed, match="doesn't start") as caught:
        ask_child(["/nonexistent/python"], 1, sum_of)
    assert caught.value.returncode is None


@pytest.mark.parametrize(
    ("returncode", "stderr", "text"),
    [
        (-11, "", "died of SIGSEGV"),
        (
            -6,
            "noise\nllama.cpp aborted: file.c:7: out of hay\n\n",
            "died of SIGABRT: llama.cpp aborted: file.c:7: out of hay",
        ),
        (-200, "", "died of signal 200"),
        (1, "first\nlast", "failed with status 1: last"),
        (3, "", "failed with status 3"),
    ],
)
def test_the_end_of_a_child_in_words(returncode: int, stderr: str, text: str) -> None:
    assert describe_exit(returncode, stderr) == text


def test_the_answer_is_the_last_line() -> None:
    assert last_line("ggml_cuda_init: found 1 device\n{}\n\n") == "{}"
    assert last_line("\n") == ""


def test_an_ended_child_is_reaped_whatever_it_has_left_unread() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    child.stdin.write(b"unread")
    end_child(child)
    assert child.returncode == -signal.SIGKILL
    assert child.stdin.closed
    end_child(child)
