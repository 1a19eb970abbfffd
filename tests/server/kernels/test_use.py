"""The setting `kernels`: what is loaded with it, what it refuses, and what is reported."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import ModelLoadError
from models.gguf.info import GGUFInfo
from models.gguf.reader import GGUFTensor
from models.llamacpp.kernel_library import KernelLibrary
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from server.ipc.model_spec import KernelReport
from server.kernels.front import Kernels, open_kernels
from server.kernels.use import choose_kernels
from server.serve_options import ServeOptions
from tests.adapter_gguf import write_adapter_gguf
from tests.quantize.families.test_byte_identity_of_families import BY_NAME, written
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


def test_a_model_without_such_matrices_is_reported_or_refused(library: KernelLibrary) -> None:
    """What speaks against the kernels of some types may be the reason that none is left for this model."""
    kernels = replace(open_kernels(), faults=("Q4_K is left to llama.cpp: x",), fix="another compiler")
    assert kernels.library is not None
    report = choose_kernels(ServeOptions(), is_all_on_gpu=False, opened=lambda: kernels).report()
    assert report.by == "llama.cpp"
    assert report.reason is not None
    assert report.reason.startswith(
        "none of its matrices is in the CPU's memory and of a type with kernels ("
    )
    assert report.reason.endswith("; Q4_K is left to llama.cpp: x")
    choice = choose_kernels(ServeOptions(kernels="on"), is_all_on_gpu=False, opened=lambda: kernels)
    with pytest.raises(ModelLoadError) as refused:
        choice.report()
    assert refused.value.message == (
        f"kernels is on, but {report.reason}; another compiler, or set kernels to auto"
    )
    assert library.n_matrices >= 0


def test_a_death_while_loading_is_the_reason_from_then_on() -> None:
    def never() -> Kernels:
        raise AssertionError

    for options in (ServeOptions(kernels="off"), ServeOptions(kernels="off", use_extra_bufts=False)):
        choice = choose_kernels(options, is_all_on_gpu=False, death="a worker died (SIGBUS)", opened=never)
        assert choice.report().text == "llama.cpp's (with Corral's a worker died (SIGBUS))"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("demo")
    return {file.type: file.path for file in quantize_folder("demo", ["Q5_K_M", "Q4_K_M"], folder)}


def logits_of(
    path: Path, folder: Path, *, adapter: Path | None = None, **options: Any
) -> tuple[npt.NDArray[np.float32], list[Any]]:
    """The rows and the report of a child process with these settings."""
    out = folder / f"{'-'.join(f'{k}-{v}' for k, v in options.items())}.npy"
    command = [sys.executable, "-m", "tests.server.kernels.logits_child", str(path), str(out)]
    command += [json.dumps(options), *([] if adapter is None else [str(adapter)])]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3])
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
    cache: dict[str, Any] = {"type_k": cache_type, "type_v": cache_type, "flash_attn": "on"}
    ours, report = logits_of(files["Q4_K_M"], tmp_path, kernels="on", **cache)
    own, _ = logits_of(files["Q4_K_M"], tmp_path, kernels="off", **cache)
    assert report[2].endswith("and attention") is library.has_attention()
    if library.has_attention():
        assert np.array_equal(ours[64:96], ours[32:64])
    assert not np.array_equal(own[64:96], own[32:64])
    spread = own.std(axis=1, keepdims=True)
    assert 0 < np.abs((ours - own) / spread).max() < 0.15


def differences(ours: npt.NDArray[np.float32], own: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The differences of logits, in standard deviations of their rows."""
    found: npt.NDArray[np.float32] = np.abs((ours - own) / own.std(axis=1, keepdims=True))
    return found


@pytest.mark.model
@pytest.mark.parametrize(
    "more", [{"use_mmap": False}, {"use_mlock": True}, {"use_mmap": False, "use_mlock": True}]
)
def test_a_file_that_is_read_or_locked_gives_the_same_logits(
    more: dict[str, Any], files: dict[str, Path], tmp_path: Path, library: KernelLibrary
) -> None:
    mapped, _ = logits_of(files["Q4_K_M"], tmp_path, kernels="on")
    other, report = logits_of(files["Q4_K_M"], tmp_path, kernels="on", **more)
    assert report[0] == "corral"
    assert np.array_equal(other, mapped)
    assert library.sets()


@pytest.mark.model
def test_adapters_go_beside_panels(tmp_path: Path, library: KernelLibrary) -> None:
    """Their own matrices are llama.cpp's: a panel is written once, when a model is loaded."""
    source = write_tiny_gguf(tmp_path / "tiny.gguf")
    path = quantize_folder(source, ["Q8_0"], tmp_path)[0].path
    adapter = write_adapter_gguf(tmp_path / "adapter.gguf")
    ours, report = logits_of(path, tmp_path, adapter=adapter, kernels="on")
    own, _ = logits_of(path, tmp_path, adapter=adapter, kernels="off")
    plain, _ = logits_of(path, tmp_path, kernels="on", flash_attn="on")
    assert report[0] == "corral"
    assert differences(ours, own).max() < 0.2
    assert differences(plain, own).max() > 1.0
    assert library.sets()


@pytest.mark.model
def test_experts_that_stay_on_the_cpu_are_in_panels_all_the_same(
    tmp_path: Path, library: KernelLibrary
) -> None:
    """Where a tensor is told to go is asked for with the CPU's plain buffer type."""
    path = quantize_folder(written(BY_NAME["qwen3-moe"], tmp_path), ["Q4_K_M"], tmp_path)[0].path
    for kernels in ("on", "off"):
        plain, report = logits_of(path, tmp_path, kernels=kernels)
        stay, as_stayed = logits_of(path, tmp_path, kernels=kernels, n_cpu_moe=2)
        assert as_stayed == report
        assert np.array_equal(stay, plain)
        if kernels == "on":
            assert report[1] > 2 * 3 * 4, "each of 4 experts in 2 layers has 3 matrices"
    assert library.sets()


@pytest.mark.parametrize(
    ("options", "type_", "experts_stay", "expected"),
    [
        ({}, "Q4_K", True, True),
        ({}, "Q4_K", False, False),
        ({}, "MXFP4", True, False),
        ({}, "NVFP4", True, False),
        ({"kernels": "on"}, "MXFP4", False, True),
        ({"kernels": "off"}, "Q4_K", True, False),
    ],
)
def test_beside_a_gpu_what_stays_is_computed_with_them_where_that_pays(
    options: dict[str, Any], type_: str, experts_stay: bool, expected: bool, library: KernelLibrary
) -> None:
    """Its layers' other weights stay where a GPU can fetch them for a prompt."""
    experts = GGUFTensor("blk.0.ffn_up_exps.weight", (256, 256, 8), type_, 0, 1 << 20)
    info = GGUFInfo((Path("x.gguf"),), 1 << 20, 3, 32, {}, (experts,))
    kernels = Kernels(library, types=(GGML_TYPES["Q4_K"],))
    choice = choose_kernels(ServeOptions(**options), is_all_on_gpu=False, opened=lambda: kernels)
    assert choice.computes(info, experts_stay=experts_stay) is expected
    assert library.sets()


@pytest.mark.model
@pytest.mark.parametrize(
    ("type_", "tiny"),
    [
        ("Q8_0", TinyModel(n_embd=288, n_ff=416)),
        ("Q4_0", TinyModel(n_embd=160, n_ff=96, n_head=8)),  # heads of 20
        ("Q4_K_M", TinyModel(n_embd=288, n_head=9, n_head_kv=3)),
        ("F16", TinyModel(n_embd=96, n_ff=33 * 32, n_head=3, n_head_kv=1)),
        ("NVFP4", TinyModel(n_embd=320, n_head=5, n_head_kv=5, n_ff=96)),  # blocks are left to ggml
    ],
)
def test_models_of_odd_widths(type_: str, tiny: TinyModel, tmp_path: Path, library: KernelLibrary) -> None:
    source = write_tiny_gguf(tmp_path / "tiny.gguf", tiny)
    path = quantize_folder(source, [type_], tmp_path)[0].path
    ours, report = logits_of(path, tmp_path, kernels="on")
    own, _ = logits_of(path, tmp_path, kernels="off")
    assert report[0] == "corral"
    assert differences(ours, own).max() < 0.2
    assert library.sets()


def test_attention_is_reported_where_the_cache_has_kernels_for_it(library: KernelLibrary) -> None:
    kernels = open_kernels()
    if not kernels.has_attention:
        pytest.skip("this CPU has no kernels for attention")
    for options, expected in (
        (ServeOptions(type_k="q8_0", type_v="bf16"), True),
        (ServeOptions(type_v="q4_0"), False),
        (ServeOptions(type_k="iq4_nl"), False),
        (ServeOptions(flash_attn="off"), False),
    ):
        choice = choose_kernels(options, is_all_on_gpu=False, opened=lambda: kernels)
        assert choice.report().has_attention is expected, options
    assert library.sets()
