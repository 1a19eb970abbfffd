from __future__ import annotations

import pytest

from server.cli.progress import LINE_EVERY_S, ByteLines, CountLines, byte_line, byte_progress

MIB = 2**20


def test_line() -> None:
    assert byte_line(30 * MIB, 120 * MIB, 20 * MIB, 2.0) == "25 % of 120.0 MiB, 10.0 MiB/s, 9.0 s left"
    assert byte_line(120 * MIB, 120 * MIB, 110 * MIB, 11.0) == "100 % of 120.0 MiB, 10.0 MiB/s in 11 s"
    assert byte_line(0, 0, 0, 0.0) == "0 % of 0 KiB"


def test_lines_come_now_and_then_and_once_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = ByteLines("download", lambda: now)
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


def test_counted_lines_come_now_and_then_and_once_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = CountLines("windows", lambda: now)
    for step in range(1, 11):
        now = step * LINE_EVERY_S / 5
        lines(step, 10)
    assert capsys.readouterr().err.splitlines() == ["windows: 5 of 10, 5.0 s left", "windows: 10 of 10"]
