"""A step of the set-up that fails or is interrupted."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from scripts.steps import TAIL_LINES, ProgressLine, SetUpError, run_step


def test_lines_reach_the_log_and_the_listener(tmp_path: Path) -> None:
    lines: list[str] = []
    command = [sys.executable, "-c", "print('one'); print('two')"]
    run_step("counting", command, tmp_path / "logs/step.log", "", on_line=lines.append)
    assert lines == ["one\n", "two\n"]
    assert (tmp_path / "logs/step.log").read_text().endswith("one\ntwo\n")


def test_a_failure_shows_the_end_of_the_log_its_path_and_the_fix(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    command = [sys.executable, "-c", "for i in range(100): print('line', i)\nraise SystemExit(3)"]
    with pytest.raises(SetUpError) as caught:
        run_step("compiling", command, log, "Install a compiler.")
    text = str(caught.value)
    assert text.startswith("compiling failed (exit status 3)")
    assert text.endswith(f"log: {log}\nInstall a compiler.")
    assert text.count("\n    line ") == TAIL_LINES
    assert "line 99" in text
    assert "line 69" not in text
    assert "line 0\n" in log.read_text()


def test_an_interrupted_step_leaves_no_process(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}])\n"
    script += (
        f"import os\nwhile not os.path.exists({str(pid_file)!r}) or not os.path.getsize({str(pid_file)!r}): "
    )
    script += "time.sleep(0.01)\nprint('ready', flush=True)\ntime.sleep(60)"

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_step("waiting", [sys.executable, "-c", script], tmp_path / "log", "", on_line=interrupt)
    assert _ends(int(pid_file.read_text()))


def test_progress_without_a_terminal_is_lines_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine(every_s=3600)
    for number in range(5):
        line.show(f"step {number}")
    line.end("done")
    assert capsys.readouterr().out == "step 0\ndone\n"


def _ends(pid: int) -> bool:
    """Whether the process is gone (or a zombie that its new parent hasn't collected) within half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False
