"""Folders of Ray's sockets and logs: found by Ray's processes, and removed after these have ended."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import psutil

_OPTIONS = ("--session_dir=", "--session-dir=")
"""Parts of Ray are told their folder so."""


def session_folders(pid: int) -> set[Path]:
    """Return the folders that the parts of Ray below a process were told."""
    try:
        parts = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return set()
    words = [word for part in parts for word in _words(part)]
    return {
        Path(word.removeprefix(option)) for word in words for option in _OPTIONS if word.startswith(option)
    }


def remove_unused(folders: Iterable[Path]) -> None:
    """Remove those that no process is told: another node of this machine may have the same one."""
    used = [word for process in psutil.process_iter() for word in _words(process)]
    for folder in folders:
        if any(str(folder) in word for word in used):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        latest = folder.parent / "session_latest"
        if latest.is_symlink() and not latest.exists():
            latest.unlink(missing_ok=True)


def _words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []
