"""The workspace of an agent's task: a git repository with one wrong word and the test that shows it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.clients.scripted_model import RIGHT, WRONG

_TEST = (
    'from greet import greet\n\nassert greet("Ann") == "Hello, Ann", greet("Ann")\n'
    'open("passed", "w").close()\nprint("test passed")\n'
)


def write_workspace(folder: Path) -> Path:
    """Write the repository; returns `folder`."""
    folder.mkdir()
    (folder / "greet.py").write_text(f"def greet(name):\n    return {WRONG} + name\n")
    (folder / "test_greet.py").write_text(_TEST)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "start")):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return folder


def is_fixed(folder: Path) -> bool:
    """Return True if the word was corrected, and nothing else."""
    return (folder / "greet.py").read_text() == f"def greet(name):\n    return {RIGHT} + name\n"


def has_run_test(folder: Path) -> bool:
    """Return True if the test has passed in the folder."""
    return (folder / "passed").exists()
