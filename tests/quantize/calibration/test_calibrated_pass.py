"""A calibrated pass changes levels and scales alone, the same by any means, and names what it can't round."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import QuantizationError
from models.gguf.reader import GGUFFile, GGUFTensor, read_gguf_file
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.calibration import calibration as module
from quantize.calibration.calibration import Calibration
from quantize.calibration.estimate import estimate_seconds
from quantize.evaluate.windows import TextPlan
from quantize.job.request import QuantizeOptions
from quantize.job.service import QuantizationOutcome, quantize_reference
from quantize.kernels.compiler import KernelCompiler
from quantize.moments.collect import MomentMeans, collect_moments
from quantize.moments.file import MomentFile, read_moments
from quantize.plan.types import TypeChoice, require_roundable
from quantize.run.options import RunOptions
from tests.quantize.moments.test_collect import TEXT

pytestmark = pytest.mark.model

TYPES = ("Q4_K_M", "Q2_K")
KERNELS = KernelCompiler(Paths.from_environment().compiled_dir)


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("pico") / "pico.gguf", TinyModel(n_layer=1))


@pytest.fixture(scope="module")
def moments(pico: Path) -> Iterator[MomentFile]:
    target = pico.with_name("moments.gguf")
    collect_moments(pico, TextPlan(TEXT, 96), target, label="words", means=MomentMeans())
    with read_moments(target) as opened:
        yield opened


def made(pico: Path, out: Path, choice: TypeChoice, run: RunOptions | None = None) -> QuantizationOutcome:
    store = ModelStore(Paths(home=out / "home", hf_cache=out / "hub"))
    options = QuantizeOptions(choice=choice, out_dir=out, run=run or RunOptions())
    return quantize_reference(ModelRef.parse(str(pico)), TYPES, store=store, options=options, kernels=KERNELS)


@pytest.fixture(scope="module")
def calibrated(pico: Path, moments: MomentFile, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    choice = TypeChoice(calibration=Calibration(moments, KERNELS))
    outcome = made(pico, tmp_path_factory.mktemp("calibrated"), choice, RunOptions(threads=1))
    return [file.path for file in outcome.files]


@pytest.fixture(scope="module")
def plain(pico: Path, moments: MomentFile, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    outcome = made(pico, tmp_path_factory.mktemp("plain"), TypeChoice(moments.importance()))
    return [file.path for file in outcome.files]


def tensor_of(file: GGUFFile, name: str) -> GGUFTensor:
    return next(tensor for tensor in file.tensors if tensor.name == name)


def bytes_of(file: GGUFFile, name: str) -> npt.NDArray[np.uint8]:
    tensor = tensor_of(file, name)
    return np.fromfile(file.path, np.uint8, tensor.nbytes, offset=tensor.offset)


def test_types_and_sizes_are_the_plain_files(calibrated: list[Path], plain: list[Path]) -> None:
    for ours, theirs in zip(map(read_gguf_file, calibrated), map(read_gguf_file, plain), strict=True):
        layout = [(tensor.name, tensor.type, tensor.nbytes) for tensor in ours.tensors]
        assert layout == [(tensor.name, tensor.type, tensor.nbytes) for tensor in theirs.tensors]
        assert ours.metadata["corral.calibration.method"] == "gptq"
        assert ours.metadata["corral.calibration.text"] == "words"
        assert "corral.calibration.method" not in theirs.metadata


def test_a_file_of_plain_numbers_says_nothing_of_it(pico: Path, moments: MomentFile, tmp_path: Path) -> None:
    choice = TypeChoice(calibration=Calibration(moments, KERNELS))
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))
    options = QuantizeOptions(choice=choice, dry_run=True, out_dir=tmp_path)
    types = ["F32", "F16", "BF16", "Q8_0", "Q4_0"]
    plan = quantize_reference(ModelRef.parse(str(pico)), types, store=store, options=options).plan
    assert plan is not None
    says = ["corral.calibration.method" in file.metadata for file in plan.files]
    assert says == [False, False, False, True, True]
    says = ["quantize.imatrix.file" in file.metadata for file in plan.files]
    assert says == [False, False, False, False, True], "ggml's Q8_0 takes no importance"


def test_a_calibration_with_nothing_to_round_is_refused(moments: MomentFile) -> None:
    choice = TypeChoice(calibration=Calibration(moments, KERNELS))
    require_roundable(["F16", "Q8_0"], choice)
    for types in (["F16"], ["BF16", "F32"]):
        with pytest.raises(QuantizationError, match="nothing that a calibration rounds"):
            require_roundable(types, choice)


def test_products_lose_less(
    pico: Path, calibrated: list[Path], plain: list[Path], moments: MomentFile
) -> None:
    whole = read_gguf_file(pico)
    for ours, theirs in zip(map(read_gguf_file, calibrated), map(read_gguf_file, plain), strict=True):
        for tensor in ours.tensors:
            seen = moments.moments(tensor.name)
            if seen is None or len(tensor.shape) < 2 or tensor.type == "F32":
                continue
            mean = seen.total.astype(np.float64) / seen.n_rows
            rows = bytes_of(whole, tensor.name).view(np.float32).reshape(-1, tensor.shape[0])

            def loss(file: GGUFFile) -> float:
                raw = bytes_of(file, tensor.name)  # noqa: B023 - it is called in the loop
                errors = rows - dequantize_rows(GGML_TYPES[tensor.type], raw, tensor.shape[0])  # noqa: B023
                return float(np.einsum("ij,jk,ik->", errors, mean, errors))  # noqa: B023

            assert loss(ours) < 0.9 * loss(theirs), tensor.name


@pytest.mark.parametrize("means", [RunOptions(threads=3), RunOptions(threads=2, memory_bytes=600 * 2**20)])
def test_any_means_give_the_same_bytes(
    pico: Path, moments: MomentFile, calibrated: list[Path], tmp_path: Path, means: RunOptions
) -> None:
    choice = TypeChoice(calibration=Calibration(moments, KERNELS))
    again = made(pico, tmp_path, choice, means).files
    assert [file.path.read_bytes() for file in again] == [path.read_bytes() for path in calibrated]


def test_what_is_excluded_is_plain(
    pico: Path, moments: MomentFile, calibrated: list[Path], plain: list[Path], tmp_path: Path
) -> None:
    calibration = Calibration(moments, KERNELS)
    calibration.exclude(["blk.0.ffn_up.weight"], "it lost", GGML_TYPES["Q4_K"])
    files = [
        read_gguf_file(file.path) for file in made(pico, tmp_path, TypeChoice(calibration=calibration)).files
    ]
    name = "blk.0.ffn_up.weight"
    assert calibration.plain[f"{name} as Q4_K"] == "it lost"
    for file, ours, theirs in zip(
        files, map(read_gguf_file, calibrated), map(read_gguf_file, plain), strict=True
    ):
        other = theirs if tensor_of(file, name).type == "Q4_K" else ours
        assert np.array_equal(bytes_of(file, name), bytes_of(other, name))
        assert np.array_equal(
            bytes_of(file, "blk.0.ffn_gate.weight"), bytes_of(ours, "blk.0.ffn_gate.weight")
        )


def test_inputs_with_few_rows_are_named(
    pico: Path, moments: MomentFile, plain: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENOUGH_FOR_CORRELATIONS", 10**9)
    calibration = Calibration(moments, KERNELS)
    made_files = made(pico, tmp_path, TypeChoice(calibration=calibration)).files
    assert "1000000000 are needed" in calibration.plain["blk.0.attn_q.weight"]
    for file, other in zip(made_files, plain, strict=True):
        ours, theirs = read_gguf_file(file.path), read_gguf_file(other)
        for tensor in ours.tensors:
            assert np.array_equal(bytes_of(ours, tensor.name), bytes_of(theirs, tensor.name))


def test_moments_of_another_model_are_refused(moments: MomentFile, tmp_path: Path) -> None:
    other = write_tiny_gguf(tmp_path / "wide.gguf", TinyModel(n_layer=1, n_embd=512))
    with pytest.raises(QuantizationError, match="another model"):
        made(other, tmp_path, TypeChoice(calibration=Calibration(moments, KERNELS)))
    assert not list(tmp_path.glob("wide.Q*"))


def test_a_dry_run_tells_the_time(pico: Path, moments: MomentFile, tmp_path: Path) -> None:
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))
    calibration = Calibration(moments, KERNELS)
    choice = TypeChoice(calibration=calibration)
    options = QuantizeOptions(choice=choice, out_dir=tmp_path, dry_run=True, run=RunOptions(threads=1))
    outcome = quantize_reference(ModelRef.parse(str(pico)), TYPES, store=store, options=options)
    assert outcome.plan is not None
    assert outcome.durations is not None
    assert (outcome.durations.collecting, outcome.durations.check) == (None, None)
    assert 0 < outcome.durations.rounding < 600
    assert estimate_seconds(outcome.plan, calibration.rounder, 4) < outcome.durations.rounding
    assert not list(tmp_path.glob("*.gguf"))
    shutil.rmtree(store.paths.home, ignore_errors=True)
