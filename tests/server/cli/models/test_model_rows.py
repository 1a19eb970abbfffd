"""The rows of `corral show`: a mixture's experts, and what a GPU will have of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from models.doctor.tiny_model import write_tiny_gguf
from models.gguf.info import GGUFInfo, read_gguf_info
from models.gguf.reader import GGUFTensor
from models.machine.device import Device
from models.machine.fit import GIB
from server.cli.models.model_rows import fit_of_info
from server.serve_options import ServeOptions

OPTIONS = ServeOptions(ctx=1024)


@pytest.fixture
def info(tmp_path: Path) -> GGUFInfo:
    return read_gguf_info(write_tiny_gguf(tmp_path / "tiny.gguf"))


def with_experts(info: GGUFInfo) -> GGUFInfo:
    experts = [
        GGUFTensor(f"blk.{layer}.ffn_{part}_exps.weight", (256, 256, 8), "Q4_K", 0, 2 * GIB)
        for layer in range(2)
        for part in ("up", "down")
    ]
    return replace(info, tensors=(*info.tensors, *experts))


def test_nobody_lists_devices_for_a_model_without_experts(info: GGUFInfo) -> None:
    def never() -> Sequence[Device]:
        raise AssertionError

    row = fit_of_info(info, 64 * GIB, OPTIONS, never)
    assert (row["expert_bytes"], row["beside_gpu"]) == (0, None)
    assert "expert" not in row["memory"]


@pytest.mark.parametrize(
    ("free_gib", "n_layers", "n_stay", "said"),
    [
        (16, 3, 0, "8.0 GiB are experts; 3 of 3 layers go to the GPU"),
        (8, 3, 1, "3 of 3 layers go to the GPU, the experts of 1 of them, 4.0 GiB, stay"),
        (6, 3, 2, "3 of 3 layers go to the GPU, the experts of 2 of them, 8.0 GiB, stay"),
    ],
)
def test_a_gpu_has_all_but_some_experts(
    info: GGUFInfo, free_gib: int, n_layers: int, n_stay: int, said: str
) -> None:
    devices = [Device("GPU0", "a card", "gpu", 80 * GIB, free_gib * GIB)]
    row = fit_of_info(with_experts(info), 64 * GIB, OPTIONS, lambda: devices)
    beside = row["beside_gpu"]
    assert (beside["gpu_layers"], beside["cpu_moe_layers"]) == (n_layers, n_stay)
    assert beside["cpu_moe_bytes"] == n_stay * 4 * GIB <= beside["host_bytes"] < row["memory_bytes"]
    assert row["memory"].endswith(said)


def test_without_a_gpu_the_experts_alone_are_told(info: GGUFInfo) -> None:
    for devices in ([], [Device("GPU0", "a card", "gpu", GIB, 1)]):
        row = fit_of_info(with_experts(info), 64 * GIB, OPTIONS, partial(tuple, devices))
        assert (row["expert_bytes"], row["beside_gpu"]) == (8 * GIB, None)
        assert row["memory"].endswith("8.0 GiB are experts")
