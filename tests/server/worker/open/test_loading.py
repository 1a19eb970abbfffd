from __future__ import annotations

import logging
from pathlib import Path

import pytest

from models.gguf.info import GGUFInfo, read_gguf_info
from models.llamacpp.kv_cache import padded
from models.llamacpp.library import Device
from server.ipc.model_spec import ModelSpec
from server.worker.open.loading import choose_sizes

PLENTY = 2**40


@pytest.fixture(scope="module")
def info(pico_path: Path) -> GGUFInfo:
    return read_gguf_info(pico_path)


def spec(**options: object) -> ModelSpec:
    return ModelSpec(name="pico", path="pico.gguf", **options)  # type: ignore[arg-type]


def test_the_context_is_the_models_own_unless_chosen(info: GGUFInfo) -> None:
    assert choose_sizes(spec(), info, [], PLENTY) == (512, 0)
    assert choose_sizes(spec(n_ctx=100), info, [], PLENTY) == (100, 0)


def test_a_chosen_context_beyond_training_is_kept_and_said(
    info: GGUFInfo, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose_sizes(spec(n_ctx=1000), info, [], PLENTY)[0] == 1000
    assert "trained for 512" in caplog.text


def test_want_of_memory_halves_an_unchosen_context_and_says_so(
    info: GGUFInfo, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.worker.open.loading.CTX_MIN", 64)
    caplog.set_level(logging.WARNING)
    n_ctx, _ = choose_sizes(spec(n_parallel=64), info, [], 2**24)
    assert 64 <= n_ctx < 512
    assert f"is {n_ctx} tokens instead of 512" in caplog.text


def test_gpu_layers_are_planned_on_auto_and_else_taken_as_they_are(info: GGUFInfo) -> None:
    gpu = Device("GPU0", "a large one", "gpu", 2**34, 2**34)
    assert choose_sizes(spec(), info, [gpu], PLENTY)[1] == 3
    assert choose_sizes(spec(n_gpu_layers=1), info, [gpu], PLENTY)[1] == 1
    assert choose_sizes(spec(), info, [Device("CPU", "", "cpu", 2**34, 2**34)], PLENTY)[1] == 0


@pytest.mark.parametrize(("n_ctx", "cells"), [(1, 256), (256, 256), (257, 512), (4096, 4096)])
def test_cells_come_in_units_of_256(n_ctx: int, cells: int) -> None:
    assert padded(n_ctx) == cells
