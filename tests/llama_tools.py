"""llama.cpp's own command-line tools, where `CORRAL_LLAMA_CPP_TOOLS` names the folder that has them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest


def run_tool(name: str, *arguments: str | Path) -> str:
    """What the tool printed. Skips the test where there is none."""
    folder = os.environ.get("CORRAL_LLAMA_CPP_TOOLS")
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"CORRAL_LLAMA_CPP_TOOLS names no folder with {name}")
    done = subprocess.run(
        [str(Path(folder) / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def figure(output: str, name: str) -> float:
    """Return the figure that a tool printed behind `name`, a regular expression."""
    found = re.search(rf"{name}\s*[:=]\s*([0-9.]+)", output)
    assert found is not None, (name, output[-3000:])
    return float(found[1])
