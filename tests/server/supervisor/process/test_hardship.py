from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.supervisor.process.hardship import LEAST_SHARE, Condition, Hardship, ProcessWatcher, fair_share

NAMES = ["plain", "evil) R 1 (name"]
STATUS = "Name:\t{name}\nUmask:\t0022\nState:\t{state}\nTgid:\t7\nPid:\t7\nTracerPid:\t{tracer}\n"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def watched(folder: Path, *, name: str = "x", state: str = "S (sleeping)", tracer: int = 0) -> ProcessWatcher:
    """A process as the kernel describes it in a folder."""
    process = folder / "7"
    for thread, wait_ns in ((7, 5_000_000_000), (8, 250_000_000)):
        (process / "task" / str(thread)).mkdir(parents=True)
        (process / "task" / str(thread) / "schedstat").write_text(f"123 {wait_ns} 9\n")
    (process / "status").write_text(STATUS.format(name=name, state=state, tracer=tracer))
    (process / "stat").write_text(f"7 ({name}) S 1 7 7 0 -1 4194560 1000 0 42 0 5 6 0 0 20 0 2 0\n")
    return ProcessWatcher(7, folder)


@pytest.mark.parametrize(
    ("state", "tracer", "expected"),
    [
        ("S (sleeping)", 0, Condition()),
        ("R (running)", 0, Condition()),
        ("D (disk sleep)", 0, Condition()),
        ("T (stopped)", 0, Condition(is_stopped=True)),
        ("t (tracing stop)", 9, Condition(is_debugged=True)),
        ("R (running)", 9, Condition(is_debugged=True)),
        ("T (stopped)", 9, Condition(is_stopped=True, is_debugged=True)),
        ("Z (zombie)", 0, Condition()),
    ],
)
def test_states(tmp_path: Path, state: str, tracer: int, expected: Condition) -> None:
    assert watched(tmp_path, state=state, tracer=tracer).condition() == expected


@pytest.mark.parametrize("name", NAMES)
def test_what_a_process_has_suffered(tmp_path: Path, name: str) -> None:
    assert watched(tmp_path, name=name).hardship() == Hardship(42, {7: 5.0, 8: 0.25})


def test_a_thread_that_ends_meanwhile_and_a_kernel_that_tells_less(tmp_path: Path) -> None:
    watcher = watched(tmp_path)
    (tmp_path / "7" / "task" / "8" / "schedstat").unlink()
    assert watcher.hardship() == Hardship(42, {7: 5.0})
    shutil.rmtree(tmp_path / "7" / "task")
    assert watcher.hardship() == Hardship(42, {})
    (tmp_path / "7" / "stat").unlink()
    assert watcher.hardship() == Hardship()


def test_one_that_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for watcher in (ProcessWatcher(process.pid), ProcessWatcher(process.pid, Path("/no/such/folder"))):
        assert watcher.condition() == Condition()
        assert watcher.hardship() == Hardship()


@pytest.mark.parametrize("proc", ["/proc", "/no/such/folder"])
def test_a_real_process_that_is_stopped(child: subprocess.Popen[bytes], proc: str) -> None:
    watcher = ProcessWatcher(child.pid, Path(proc))
    assert watcher.condition() == Condition()
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert watcher.condition() == Condition(is_stopped=True)
    os.kill(child.pid, signal.SIGCONT)
    os.waitid(os.P_PID, child.pid, os.WCONTINUED | os.WNOWAIT)
    assert watcher.condition() == Condition()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel keeps no such statistics")
def test_the_kernels_own_figures() -> None:
    hardship = ProcessWatcher(os.getpid()).hardship()
    assert threading.get_native_id() in hardship.waits_s
    assert all(wait_s >= 0 for wait_s in hardship.waits_s.values())


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        (Hardship(5, {1: 3.0}), Hardship(5, {1: 3.0}), 1.0),
        (Hardship(5, {1: 3.0}), Hardship(5, {1: 3.5}), 0.75),
        (Hardship(5, {1: 3.0, 2: 1.0}), Hardship(5, {1: 3.5, 2: 2.5}), 0.25),
        (Hardship(5, {1: 3.0}), Hardship(5, {1: 5.0}), LEAST_SHARE),
        (Hardship(5, {1: 3.0}), Hardship(5, {1: 3.0, 2: 9.0}), 1.0),  # a new thread: not known since when
        (Hardship(5, {1: 3.0, 2: 4.0}), Hardship(5, {1: 3.0}), 1.0),
        (Hardship(5, {1: 3.0}), Hardship(15, {1: 3.0}), 1.0),
        (Hardship(5, {1: 3.0}), Hardship(25, {1: 3.0}), 0.0),
    ],
)
def test_the_share_of_two_seconds(before: Hardship, after: Hardship, share: float) -> None:
    assert fair_share(before, after, 2.0) == pytest.approx(share)
