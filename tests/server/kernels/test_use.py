"""The setting `kernels`: what is loaded with it, what it refuses, and what is reported."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import ModelLoadError
from models.llamacpp.kernel_library import KernelLibrary
from server.ipc.model_spec import KernelReport
from server.kernels.front import Kernels, open_kernels
from server.kernels.use import choose_kernels
from server.serve_options import ServeOptions
from tests.quantize.quantize_folder import quantize_folder

MISSING = Kernels(reason="libcorral_kernels.so isn't there", fix="run `make setup`")


def missing() -> Kernels:
    return MISSING


@pytest.mark.parametrize(
    ("options", "is_all_on_gpu", "reason"),
    [
        ({"kernels": "off"}, False, "kernels is off"),
        ({"use_extra_bufts": False}, False, "use_extra_bufts is off, which means these, too"),
        ({}, True, "all layers are on the GPU"),
    ],
)
def test_what_nobody_wants_is_not_opened(options: dict[str, Any], is_all_on_gpu: bool, reason: str) -> None:
    def never() -> Kernels:
        raise AssertionError

    choice = choose_kernels(ServeOptions(**options), is_all_on_gpu=is_all_on_gpu, opened=never)
    assert choice.report() == KernelReport(reason=reason)
    assert choice.report().text == f"llama.cpp's ({reason})"


@pytest.mark.parametrize(
    ("options", "is_all_on_gpu", "said"),
    [
        ({}, False, r"libcorral_kernels.so isn't there; run `make setup`, or set kernels to auto"),
        ({"use_extra_bufts": False}, False, r"use_extra_bufts is off.*; set kernels to auto"),
        ({}, True, r"all layers are on the GPU; set kernels to auto"),
    ],
)
def test_on_refuses_to_do_without(options: dict[str, Any], is_all_on_gpu: bool, said: str) -> None:
    with pytest.raises(ModelLoadError, match=f"^kernels is on, but {said}$"):
        choose_kernels(ServeOptions(kernels="on", **options), is_all_on_gpu=is_all_on_gpu, opened=missing)


def test_auto_goes_on_without_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "corral.worker"):
        choice = choose_kernels(ServeOptions(), is_all_on_gpu=False, opened=missing)
    assert choice.report() == KernelReport(reason=MISSING.reason)
    assert "run `make setup`" in caplog.text


def test_a_model_without_such_matrices_is_reported(
    library: KernelLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    kernels = open_kernels()
    assert kernels.library is not None
    choice = choose_kernels(ServeOptions(kernels="on"), is_all_on_gpu=False, opened=lambda: kernels)
    with caplog.at_level(logging.WARNING, "corral.worker"):
        report = choice.report()
    assert report.by == "llama.cpp"
    assert "kernels is on, but llama.cpp's own are used: none of its matrices" in caplog.text
    assert library.n_matrices >= 0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("demo")
    return {file.type: file.path for file in quantize_folder("demo", ["Q5_K_M", "Q4_K_M"], folder)}


def logits_of(path: Path, folder: Path, **options: Any) -> tuple[npt.NDArray[np.float32], list[Any]]:
    """The rows and the report of a child process with these settings."""
    out = folder / f"{'-'.join(f'{k}-{v}' for k, v in options.items())}.npy"
    command = [sys.executable, "-m", "tests.server.kernels.logits_child", str(path), str(out)]
    subprocess.run([*command, json.dumps(options)], check=True, cwd=Path(__file__).parents[3])
    return np.load(out), json.loads(out.with_suffix(".json").read_text())


@pytest.mark.model
@pytest.mark.parametrize("type_", ["Q5_K_M", "Q4_K_M"])
def test_logits_differ_no_more_than_llama_cpps_own(
    type_: str, files: dict[str, Path], tmp_path: Path, library: KernelLibrary
) -> None:
    """And what is computed beside a token moves its logits by attention's last bits alone."""
    ours, report = logits_of(files[type_], tmp_path, kernels="on", flash_attn="off")
    own, own_report = logits_of(files[type_], tmp_path, kernels="off", flash_attn="off")
    assert report[0] == "corral"
    assert report[1] > 40
    assert own_report[:2] == ["llama.cpp", 0]
    spread = own.std(axis=1, keepdims=True)
    difference = np.abs((ours - own) / spread)
    assert 0 < difference.max() < 0.1  # measured 0.049; between llama.cpp's own kernels 0.044
    assert np.sqrt((difference**2).mean()) < 0.015
    moved = np.abs((ours[64:96] - ours[32:64]) / spread[32:64]).max()  # steps of 1 to 5 tokens, and all 64
    moved_own = np.abs((own[64:96] - own[32:64]) / spread[32:64]).max()
    assert moved < 1e-4 < moved_own
    assert library.sets()


@pytest.mark.model
@pytest.mark.parametrize("cache_type", ["f16", "q8_0"])
def test_a_token_has_the_same_logits_in_a_prompt_and_in_steps(
    cache_type: str, files: dict[str, Path], tmp_path: Path, library: KernelLibrary
) -> None:
    """Bit for bit, where attention is one operation; llama.cpp's own differ as much as types do."""
    cache = {"type_k": cache_type, "type_v": cache_type, "flash_attn": "on"}
    ours, report = logits_of(files["Q4_K_M"], tmp_path, kernels="on", **cache)
    own, _ = logits_of(files["Q4_K_M"], tmp_path, kernels="off", **cache)
    assert report[2].endswith("and attention") is library.has_attention()
    if library.has_attention():
        assert np.array_equal(ours[64:96], ours[32:64])
    assert not np.array_equal(own[64:96], own[32:64])
    spread = own.std(axis=1, keepdims=True)
    assert 0 < np.abs((ours - own) / spread).max() < 0.15
