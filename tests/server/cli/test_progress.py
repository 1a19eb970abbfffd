from __future__ import annotations

import pytest

from server.cli.console import duration, size
from server.cli.progress import LINE_EVERY_S, PlainLines, byte_progress, progress_line

MIB = 2**20


def test_line() -> None:
    assert progress_line(30 * MIB, 120 * MIB, 20 * MIB, 2.0) == "25 % of 120.0 MiB, 10.0 MiB/s, 9.0 s left"
    assert progress_line(120 * MIB, 120 * MIB, 110 * MIB, 11.0) == "100 % of 120.0 MiB, 10.0 MiB/s in 11 s"
    assert progress_line(0, 0, 0, 0.0) == "0 % of 0 KiB"


def test_lines_come_now_and_then_and_once_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = PlainLines("download", lambda: now)
    for step in range(101):
        now = step * LINE_EVERY_S / 20
        lines(step * MIB, 100 * MIB)
    lines(100 * MIB, 100 * MIB)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 5
    assert shown[-1].startswith("download: 100 %")


def test_nothing_reported_nothing_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with byte_progress("download"):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 KiB"), (3 * 1024, "3 KiB"), (5 * MIB, "5.0 MiB"), (3 * 2**30, "3.00 GiB")]
)
def test_size(n_bytes: int, text: str) -> None:
    assert size(n_bytes) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.84, "0.8 s"), (42.4, "42 s"), (190.2, "3 min 10 s")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
