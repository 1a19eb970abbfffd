"""The progress line of the compile."""

from __future__ import annotations

import pytest

from scripts.ninja_progress import Progress, duration, parse


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("[37/140] /usr/bin/g++ -O3 -c ggml.cpp", Progress(37, 140, "files")),
        ("  [1/140] /usr/bin/gcc -o x.o -c x.c\n", Progress(1, 140, "files")),
        ("  [ 42%] Building CXX object src/llama.cpp.o", Progress(42, 100, "%")),
        ("[100%] Linking CXX shared library", Progress(100, 100, "%")),
        ("  -- Found OpenMP: TRUE", None),
        ("  note: array[3/4] is odd", None),
        ("[141/140] impossible", None),
        ("[0/0] nothing", None),
        ("[250%] impossible", None),
        ("", None),
    ],
)
def test_parse(line: str, progress: Progress | None) -> None:
    assert parse(line) == progress


def test_describe() -> None:
    assert Progress(37, 140, "files").describe(80.9) == "compiling llama.cpp: 37/140 files, 1 min 20 s"
    assert Progress(42, 100, "%").describe(5) == "compiling llama.cpp: 42 %, 5 s"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (200, "3 min 20 s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
