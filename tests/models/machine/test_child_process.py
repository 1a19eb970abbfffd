from __future__ import annotations

import pytest

from models.machine.child_process import describe_exit, last_line


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
