"""`make lock` writes the hash-pinned locks from pyproject.toml and requirements-*.in; it needs `uv`.

The run lock comes first and constrains the others, so that one environment can hold several of them. No index
address gets into a lock. torch is never locked: see `scripts.environment`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# output, inputs, constraints
LOCKS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("requirements.lock", ("pyproject.toml",), ()),
    ("requirements-dev.lock", ("pyproject.toml", "--extra=test", "--extra=check"), ("requirements.lock",)),
    ("requirements-build.lock", ("requirements-build.in",), ("requirements-dev.lock",)),
    ("requirements-oracle.lock", ("requirements-oracle.in",), ("requirements-dev.lock",)),
    ("requirements-peer.lock", ("requirements-peer.in",), ("requirements-dev.lock",)),
    ("requirements-lm-eval.lock", ("requirements-lm-eval.in",), ("requirements-dev.lock",)),
    ("requirements-cluster.lock", ("requirements-cluster.in",), ("requirements-dev.lock",)),
)


def main() -> int:
    """Write all locks; extra arguments go to `uv pip compile` (`--upgrade`, `--upgrade-package NAME`)."""
    uv = shutil.which("uv")
    if uv is None:
        print("make lock needs uv, which is not on PATH: pip install uv", file=sys.stderr)
        return 1
    for output, inputs, constraints in LOCKS:
        command = [
            uv,
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--python-version=3.11",
            "--generate-hashes",
        ]
        command += ["--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command=make lock"]
        command += [
            *inputs,
            *(f"--constraints={name}" for name in constraints),
            "--output-file",
            output,
            *sys.argv[1:],
        ]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status != 0:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
