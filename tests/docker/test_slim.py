"""docker/slim.sh on a made-up environment: what only building needs goes, what running needs stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.tuning.machine import build_key

ROOT = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs in the image, with GNU's commands")


def made_environment(root: Path, library: str = "library") -> Path:
    """An environment below `root` with llama.cpp's libraries, each three times, and what building left."""
    environment = root / "env"
    site = environment / "lib/python3.11/site-packages"
    libraries = site / "llama_cpp/lib"
    for folder in (
        environment / "bin",
        libraries,
        site / "include",
        site / "lib/cmake",
        site / "corral/__pycache__",
        site / "numpy/lib/tests",
    ):
        folder.mkdir(parents=True)
    pip = environment / "bin/pip"
    pip.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/asked"\n')
    pip.chmod(0o755)
    for name in ("libllama.so", "libllama.so.0", "libllama.so.0.5.0", "libggml-cpu-haswell.so"):
        (libraries / name).write_text(library)
    return environment


def slim(environment: Path) -> Path:
    """Runs the script; llama.cpp's folder of libraries."""
    command = ["sh", str(ROOT / "docker/slim.sh"), environment.name]
    subprocess.run(command, cwd=environment.parent, check=True, capture_output=True)
    return environment / "lib/python3.11/site-packages/llama_cpp/lib"


def test_libraries_keep_one_file_under_the_names_that_are_asked_for(tmp_path: Path) -> None:
    libraries = slim(made_environment(tmp_path))

    assert sorted(path.name for path in libraries.iterdir()) == [
        "libggml-cpu-haswell.so",
        "libllama.so",
        "libllama.so.0",
    ]
    assert (libraries / "libllama.so").readlink() == Path("libllama.so.0")
    assert (libraries / "libllama.so").read_text() == "library"
    assert not (libraries / "libggml-cpu-haswell.so").is_symlink()


def test_what_only_building_needs_goes(tmp_path: Path) -> None:
    environment = made_environment(tmp_path)
    slim(environment)

    site = environment / "lib/python3.11/site-packages"
    assert not (site / "include").exists()
    assert not (site / "lib").exists()
    assert (site / "numpy/lib").is_dir()
    assert not (site / "numpy/lib/tests").exists()
    assert not list(environment.rglob("__pycache__"))
    assert (environment / "bin/asked").read_text().startswith("uninstall --yes --quiet cmake ninja")


def test_the_same_libraries_in_another_build_are_the_same_build_to_tune(tmp_path: Path) -> None:
    keys: list[str] = []
    for name, library in (("first", "library"), ("again", "library"), ("other", "Library")):
        environment = made_environment(tmp_path / name, library)
        for path in (environment / "lib/python3.11/site-packages/llama_cpp/lib").iterdir():
            os.utime(path, (1e9 + len(keys), 1e9 + len(keys)))
        keys.append(build_key(slim(environment)))

    assert keys[0] == keys[1]
    assert keys[1] != keys[2]
