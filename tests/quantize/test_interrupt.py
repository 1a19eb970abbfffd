"""Killed or interrupted at any moment, the store is as it was or complete, and the next run succeeds."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.job.service import quantize_reference
from tests.pico import write_pico_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TYPES = ("Q8_0", "Q5_K_M", "Q4_K_M")
WAIT_S = 120.0


@pytest.fixture
def pico(tmp_path: Path) -> Path:
    return write_pico_checkpoint(tmp_path / "pico", n_layers=4)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))


def start(pico: Path, store: ModelStore, *types: str) -> subprocess.Popen[str]:
    """A process that is about to quantize."""
    environment = {**os.environ, "CORRAL_HOME": str(store.paths.home)}
    command = [sys.executable, "-m", "tests.quantize.quantize_process", str(pico), *types]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=WAIT_S)
    return process.returncode, errors


def complete_types(store: ModelStore) -> set[str]:
    """What is listed, each file read whole: its hash is the manifest's. Nothing else may be wrong."""
    listing = store.scan()
    assert listing.problems == ()
    types: set[str] = set()
    for model in listing.models:
        for file in model.types.values():
            assert hashlib.sha256(file.path.read_bytes()).hexdigest() == file.sha256[0]
            types.add(file.type)
    return types


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.thorough)])
def test_killed_at_many_moments(kills: int, pico: Path, store: ModelStore, tmp_path: Path) -> None:
    quantize_reference(ModelRef.parse(str(pico)), ["Q4_0"], store=store)
    elsewhere = ModelStore(Paths(home=tmp_path / "elsewhere", hf_cache=tmp_path / "hub"))
    whole = start(pico, elsewhere, *TYPES)
    began = time.monotonic()
    assert finish(whole) == (0, "")
    longest = time.monotonic() - began
    chance = random.Random(7)
    killed = 0
    for moment in range(kills):
        process = start(pico, store, *TYPES)
        time.sleep(longest * (moment + chance.random()) / kills)
        process.kill()
        code, _ = finish(process)
        killed += code == -signal.SIGKILL
        assert complete_types(store) in ({"Q4_0"}, {"Q4_0", *TYPES})
        if complete_types(store) != {"Q4_0"}:
            for type_ in TYPES:
                store.remove(ModelRef.parse(str(pico)), type_)
    assert killed >= kills // 4
    assert finish(start(pico, store, *TYPES)) == (0, "")
    assert complete_types(store) == {"Q4_0", *TYPES}
    assert list(store.paths.staging_dir.iterdir()) == []
    assert {file.type: file.sha256 for file in store.get(ModelRef.parse(str(pico))).manifest.files} == {
        **{file.type: file.sha256 for file in elsewhere.get(ModelRef.parse(str(pico))).manifest.files},
        "Q4_0": store.get(ModelRef.parse(str(pico))).types["Q4_0"].sha256,
    }


def test_interrupted_from_the_keyboard(pico: Path, store: ModelStore) -> None:
    for delay_s in (0.05, 0.02, 0.01, *[0.0] * 20):
        process = start(pico, store, *TYPES)
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        code, errors = finish(process)
        if code != 0:
            break
        store.remove(ModelRef.parse(str(pico)))  # it was done before the signal came: sooner, then
    assert code != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert store.list() == []
    assert finish(start(pico, store, *TYPES)) == (0, "")
    assert complete_types(store) == set(TYPES)
