"""The build stage's commands on what was copied before them: nothing that they need comes later."""

from __future__ import annotations

import fnmatch
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import kernel_units, kernels
from tests.docker.files import ROOT, Instructions, dockerfile, instructions

MODULES = ("scripts.environment", "scripts.kernels", "scripts.rpc")


def build_stage() -> Instructions:
    """The instructions up to the image's own stage."""
    found = instructions(dockerfile())
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[:last]


def step_of(module: str) -> int:
    """The place of the one command that runs a module."""
    (place,) = (i for i, (name, rest) in enumerate(build_stage()) if name == "RUN" and f"-m {module}" in rest)
    return place


def ignored(path: Path) -> bool:
    """Whether .dockerignore leaves a file out of a folder that is let in."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    return any(fnmatch.fnmatch(part, pattern) for part in path.parts for pattern in patterns)


@pytest.fixture(params=MODULES)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A module, and the folder as it is when its command runs."""
    module: str = request.param
    for name, rest in build_stage()[: step_of(module)]:
        if name != "COPY":
            continue
        *sources, target = rest.split()
        for source in sources:
            path = ROOT / source
            if path.is_dir():
                shutil.copytree(path, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (tmp_path / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / target)
    return module, tmp_path


def test_each_command_has_the_modules_that_it_needs(stage: tuple[str, Path]) -> None:
    module, folder = stage
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); import {module} as m; print(m)"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(folder) in done.stdout


def test_the_kernels_are_built_after_the_wheel_and_of_all_their_sources() -> None:
    found = build_stage()
    assert step_of("scripts.environment") < step_of("scripts.kernels")
    copied = [i for i, (name, rest) in enumerate(found) if name == "COPY" and kernels.NATIVE in rest.split()]
    assert copied
    assert step_of("scripts.environment") < copied[0] < step_of("scripts.kernels"), "a wheel outlives kernels"
    units = kernel_units.units(ROOT / kernels.NATIVE, "x86_64")
    assert len(units) > 10
    assert [unit for unit in units if ignored(unit.relative_to(ROOT))] == []
    arguments = [
        i for i, (name, rest) in enumerate(found) if name == "ARG" and rest.startswith("CMAKE_ARGS=")
    ]
    assert arguments
    assert arguments[0] < step_of("scripts.environment"), "both are made with the same flags"


def test_the_kernels_are_there_before_the_environment_is_slimmed_and_checked() -> None:
    (last,) = (i for i, (name, rest) in enumerate(build_stage()) if name == "RUN" and "slim.sh" in rest)
    assert step_of("scripts.kernels") < last


def test_the_rpc_back_end_is_built_after_the_wheel_and_may_be_missing() -> None:
    assert step_of("scripts.environment") < step_of("scripts.rpc")
    (last,) = (i for i, (name, rest) in enumerate(build_stage()) if name == "RUN" and "slim.sh" in rest)
    assert step_of("scripts.rpc") < last
    command = build_stage()[step_of("scripts.rpc")][1]
    assert command.endswith('|| echo "warning: the image serves no split models" >&2')


def test_without_the_kernels_the_image_is_built_and_says_so() -> None:
    command = build_stage()[step_of("scripts.kernels")][1]
    assert command.endswith('|| echo "warning: the image has no matrix kernels" >&2')
