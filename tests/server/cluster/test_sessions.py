"""A session's folder is found by its processes, and removed once none has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from server.cluster.sessions import remove_unused, session_folders

PART = "import sys; print(1, flush=True); sys.stdin.read()"


def test_a_folder_goes_with_its_last_process(tmp_path: Path) -> None:
    folder = tmp_path / "session_1"
    (folder / "logs").mkdir(parents=True)
    (tmp_path / "session_latest").symlink_to(folder)
    command = [sys.executable, "-c", PART, f"--session_dir={folder}"]
    outer = (
        "import subprocess, sys; part = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=1);"
        " sys.stdin.read(); part.communicate()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", outer, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        folders = session_folders(process.pid)
        assert folders == {folder}
        remove_unused(folders)
        assert folder.is_dir(), "a process has it"
        process.communicate()
    remove_unused(folders)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_has_ended_has_no_folders() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert session_folders(process.pid) == set()
