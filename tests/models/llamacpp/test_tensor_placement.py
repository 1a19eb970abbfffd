"""The experts that are told to stay on the CPU: llama.cpp's own log says which it put there."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from models.expert_tensors import layer_of_experts
from models.gguf.info import read_gguf_info
from models.llamacpp.model import Model
from tests.quantize.families.test_byte_identity_of_families import BY_NAME, written
from tests.quantize.quantize_folder import run_plan

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    return run_plan(written(BY_NAME["qwen3-moe"], folder), ["Q8_0"], folder)[0].path


@pytest.mark.parametrize("layers", [(), (1,), (0, 1), range(99)])
def test_the_experts_of_these_layers_are_moved_and_nothing_else(
    layers: tuple[int, ...], mixture: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "corral.llama")
    with Model.load(mixture, n_gpu_layers=3, cpu_experts=layers, use_host_buffers=False) as model:
        assert model.cpu_experts == frozenset(layers)
    moved = set(re.findall(r"tensor (\S+) \(.*buffer type overridden to", caplog.text))
    names = [tensor.name for tensor in read_gguf_info(mixture).tensors]
    assert moved == {name for name in names if layer_of_experts(name) in layers}
    assert len(moved) == 3 * len({*layers} & {0, 1})
    loud = [record for record in caplog.records if record.levelno > logging.INFO]
    assert not [record for record in loud if "override" in record.message]
