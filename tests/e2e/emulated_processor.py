"""A Python whose processes, and all that these start with `sys.executable`, run on an emulated processor."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from pathlib import Path

import pytest


def emulated_python(folder: Path, cpu: str) -> Path:
    """Return the interpreter of an environment in `folder` with this one's packages, on qemu's `cpu`.

    Children are emulated, too, as the interpreter takes the script that starts it for itself. Skips without
    qemu.
    """
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine().lower() not in {"x86_64", "amd64"}:
        pytest.skip("no qemu-x86_64 for this machine: Debian has it in qemu-user")
    python = folder / "bin/python"
    python.parent.mkdir(parents=True)
    base = Path(os.path.realpath(sys.executable))
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    command = shlex.join([emulator, "-cpu", cpu, "-0", str(python), str(base)])
    python.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    python.chmod(0o755)
    return python
