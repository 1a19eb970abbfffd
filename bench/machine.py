"""The machine and the versions of a measurement, for its JSON."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from models.version import VERSION
from scripts import wheel_cache

ROOT = Path(__file__).resolve().parent.parent


def describe(llama_server: Path | None, ik_server: Path | None = None) -> dict[str, Any]:
    """Return machine and versions as plain values."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "corral": VERSION,
        "commit": first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "llama_cpp_python": importlib.metadata.version("llama-cpp-python"),
        "llama_server": first_line([str(llama_server), "--version"]) if llama_server else None,
        "ik_llama_server": first_line([str(ik_server), "--version"]) if ik_server else None,
    }


def cpu_name(identity: str | None = None) -> str:
    """Return the processor's name, from the identity that builds are cached by."""
    text = wheel_cache.cpu_identity() if identity is None else identity
    names = [part.partition("=")[2] for part in text.split("; ") if part.startswith("model name=")]
    return names[0] if names else platform.processor() or platform.machine()


def first_line(command: list[str]) -> str | None:
    """Return the first line that `command` prints, to either stream; None if it can't be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else None
