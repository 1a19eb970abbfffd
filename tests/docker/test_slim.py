"""docker/slim.sh on a made-up environment: what only building needs goes, what running needs stays."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_libraries_keep_one_file_under_the_names_that_are_asked_for(tmp_path: Path) -> None:
    environment = tmp_path / "env"
    site = environment / "lib/python3.11/site-packages"
    libraries = site / "llama_cpp/lib"
    for folder in (
        environment / "bin",
        libraries,
        site / "include",
        site / "lib/cmake",
        site / "corral/__pycache__",
    ):
        folder.mkdir(parents=True)
    pip = environment / "bin/pip"
    pip.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/asked"\n')
    pip.chmod(0o755)
    for name in ("libllama.so", "libllama.so.0", "libllama.so.0.5.0", "libggml-cpu-haswell.so"):
        (libraries / name).write_text("library")

    subprocess.run(["sh", str(ROOT / "docker/slim.sh"), "env"], cwd=tmp_path, check=True, capture_output=True)

    assert sorted(path.name for path in libraries.iterdir()) == [
        "libggml-cpu-haswell.so",
        "libllama.so",
        "libllama.so.0",
    ]
    assert (libraries / "libllama.so").readlink() == Path("libllama.so.0")
    assert (libraries / "libllama.so").read_text() == "library"
    assert not (libraries / "libggml-cpu-haswell.so").is_symlink()
    assert not (site / "include").exists()
    assert not (site / "lib").exists()
    assert not list(environment.rglob("__pycache__"))
    assert (environment / "bin/asked").read_text().startswith("uninstall --yes --quiet cmake ninja")
