"""Published clients, each installed once into a folder of its own: by npm, or by pip into an environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("CORRAL_CLIENTS_CACHE", "~/.cache/corral/clients")).expanduser()
"""The clients are here; they stay between runs."""

MARK = ".installed"


def npm(name: str, packages: Sequence[str]) -> Path:
    """Install packages of npm; return their `node_modules`."""
    folder = CACHE / name
    if not _is_there(folder, packages):
        folder.mkdir(parents=True, exist_ok=True)
        quiet = ("--no-fund", "--no-audit", "--loglevel=error")
        _install(folder, packages, ["npm", "install", *quiet, "--prefix", str(folder), *packages])
    return folder / "node_modules"


def pip(name: str, packages: Sequence[str]) -> Path:
    """Install packages of Python; return their interpreter."""
    folder = CACHE / name
    if not _is_there(folder, packages):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        quiet = ("-q", "--disable-pip-version-check", "--prefer-binary", "--no-compile")
        _install(folder, packages, [str(folder / "bin/pip"), "install", *quiet, *packages])
    return folder / "bin/python"


def _is_there(folder: Path, packages: Sequence[str]) -> bool:
    mark = folder / MARK
    return mark.is_file() and mark.read_text() == " ".join(packages)


def _install(folder: Path, packages: Sequence[str], command: list[str]) -> None:
    """Install, then mark the folder. Raises RuntimeError with the installer's words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(packages)} can't be installed: {done.stderr[-2000:]}")
    (folder / MARK).write_text(" ".join(packages))
