"""The compiled encoders write ggml's bytes, whatever the numbers are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.demo import DEMO_DIR
from models.errors import LlamaCppError
from models.llamacpp.quantization.ggml_types import row_size
from models.llamacpp.quantization.quantizer import quantize_rows
from models.paths import Paths
from models.quantization_types import TENSOR_TYPES
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.kernels.compiler import KernelCompiler
from quantize.kernels.k_quants import BLOCK, Q4_K, Q5_K, Q6_K, Kernels, sample
from quantize.plan.make_plan import make_plan
from quantize.run.encode import widen
from quantize.run.pipeline import run
from tests.quantize.importance import tensors

pytestmark = pytest.mark.model

TYPES = [Q4_K, Q5_K, Q6_K]
Rows = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def compiler() -> KernelCompiler:
    return KernelCompiler(Paths.from_environment().compiled_dir)


@pytest.fixture(scope="module")
def kernels(compiler: KernelCompiler) -> Kernels:
    compiled = compiler.wait()
    assert compiled is not None, "numba is installed, and this machine's arithmetic is llama.cpp's"
    return compiled


def by_both(kernels: Kernels, ggml_type: int, rows: Rows, imatrix: Rows | None = None) -> tuple[bytes, bytes]:
    ours, theirs = (np.zeros(len(rows) * row_size(ggml_type, rows.shape[1]), np.uint8) for _ in range(2))
    assert kernels.quantize_rows(ggml_type, rows, ours, imatrix) == len(ours)
    quantize_rows(ggml_type, rows, theirs, imatrix)
    return ours.tobytes(), theirs.tobytes()


def drawn_importance(seed: int, n: int) -> Rows:
    """Few columns matter; some were never used."""
    random = np.random.Generator(np.random.PCG64(seed))
    columns = random.gamma(0.3, 10.0 ** random.integers(-6, 6), n) * (random.random(n) > seed % 5 / 10)
    return columns.astype(np.float32)


def drawn(seed: int) -> Rows:
    """Rows of another distribution each, up to the ends of what F32 has."""
    random = np.random.Generator(np.random.PCG64(seed))
    rows = random.standard_normal((48, 2 * BLOCK)).astype(np.float32)
    kinds: list[Callable[[Rows], npt.NDArray[Any]]] = [
        lambda row: row,
        lambda row: np.exp(row * 3),
        lambda row: row**5,
        np.round,
        lambda row: np.where(row > 2, row * 1000, row),
        lambda row: np.sign(row) * 0.5,
        lambda row: np.where(np.arange(row.size) % 32 < 16, row, 0),
        lambda row: row * np.repeat(10.0 ** random.integers(-7, 7, row.size // 16), 16),
    ]
    for number, row in enumerate(rows):
        scale = np.float32(10.0) ** np.float32(random.integers(-44, 3))
        rows[number] = np.clip(kinds[number % len(kinds)](row) * scale, -3e4, 3e4)
    return rows


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("ggml_type", TYPES)
def test_drawn_numbers(kernels: Kernels, ggml_type: int, seed: int) -> None:
    ours, theirs = by_both(kernels, ggml_type, drawn(seed))
    assert ours == theirs


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("ggml_type", TYPES)
def test_drawn_numbers_weighted(kernels: Kernels, ggml_type: int, seed: int) -> None:
    rows = drawn(seed)
    ours, theirs = by_both(kernels, ggml_type, rows, drawn_importance(seed, rows.shape[1]))
    assert ours == theirs


@pytest.mark.parametrize("ggml_type", TYPES)
@pytest.mark.parametrize(
    "row",
    [
        np.zeros(BLOCK),
        np.full(BLOCK, 0.25),
        np.full(BLOCK, -3e-5),
        np.linspace(-1, 1, BLOCK),
        np.linspace(0, 1e-15, BLOCK),
        np.where(np.arange(BLOCK) == 77, 60000.0, 1e-3),
        np.where(np.arange(BLOCK) < 32, 1.0, 1e-30),
        np.where(np.arange(BLOCK) % 2, 1e-42, -1e-42),
        np.tile([-0.0, 0.0], BLOCK // 2),
    ],
)
def test_odd_numbers(kernels: Kernels, ggml_type: int, row: npt.NDArray[np.float64]) -> None:
    for imatrix in (None, drawn_importance(3, BLOCK)):
        ours, theirs = by_both(kernels, ggml_type, row.astype(np.float32).reshape(1, BLOCK), imatrix)
        assert ours == theirs


@pytest.mark.parametrize("n_blocks", [1, 7, 8, 9, 63, 65])
@pytest.mark.parametrize("ggml_type", TYPES)
def test_blocks_that_dont_fill_the_lanes(kernels: Kernels, ggml_type: int, n_blocks: int) -> None:
    rows = sample(ggml_type).reshape(-1, BLOCK)[:n_blocks]
    for imatrix in (None, drawn_importance(4, BLOCK)):
        ours, theirs = by_both(kernels, ggml_type, np.ascontiguousarray(rows), imatrix)
        assert ours == theirs


@pytest.mark.parametrize("ggml_type", TYPES)
def test_the_demo_models_weights(kernels: Kernels, ggml_type: int) -> None:
    with Checkpoint.open(DEMO_DIR) as checkpoint:
        for name, entry in checkpoint.tensors.entries.items():
            if len(entry.shape) == 2 and entry.shape[1] % BLOCK == 0:
                rows = widen(checkpoint.tensors.rows(name, 0, min(64, entry.shape[0])))
                ours, theirs = by_both(kernels, ggml_type, np.ascontiguousarray(rows))
                assert ours == theirs, name
                imatrix = drawn_importance(len(name), rows.shape[1])
                ours, theirs = by_both(kernels, ggml_type, np.ascontiguousarray(rows), imatrix)
                assert ours == theirs, name


@pytest.mark.parametrize("ggml_type", TYPES)
def test_what_cannot_be_encoded_is_said(kernels: Kernels, ggml_type: int) -> None:
    out = np.zeros(row_size(ggml_type, BLOCK), np.uint8)
    rows = np.ones((1, BLOCK), np.float32)
    rows[0, 5] = np.nan
    with pytest.raises(LlamaCppError, match="1 of 256 values are NaN"):
        kernels.quantize_rows(ggml_type, rows, out)
    with pytest.raises(LlamaCppError, match="too large"):
        kernels.quantize_rows(ggml_type, np.linspace(-1e30, 1e30, BLOCK, dtype=np.float32)[None], out)
    with pytest.raises(LlamaCppError, match="the output must be"):
        kernels.quantize_rows(ggml_type, np.ones((2, BLOCK), np.float32), out)
    with pytest.raises(LlamaCppError, match="the importance matrix must be"):
        kernels.quantize_rows(ggml_type, np.ones((1, BLOCK), np.float32), out, np.ones(8, np.float32))


def test_a_pass_uses_them_and_its_files_stay_the_same(
    compiler: KernelCompiler, kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels are there or not: the bytes are the same."""
    encoded: list[int] = []
    plain = type(kernels).quantize_rows

    def watched(self: Kernels, ggml_type: int, *arguments: Any) -> int:
        encoded.append(ggml_type)
        return plain(self, ggml_type, *arguments)

    monkeypatch.setattr(Kernels, "quantize_rows", watched)
    types = ["Q5_K_M", "Q4_K_M"]
    with Checkpoint.open(DEMO_DIR) as checkpoint:
        plan = make_plan(checkpoint, types)
        ours = run(plan, checkpoint.tensors, [tmp_path / f"with.{t}" for t in types], kernels=compiler)
        assert set(encoded) == set(TYPES)
        encoded.clear()
        theirs = run(plan, checkpoint.tensors, [tmp_path / f"without.{t}" for t in types])
        assert encoded == []
    for our, their in zip(ours, theirs, strict=True):
        assert tensors(our.path) == tensors(their.path)


def test_the_types_are_those_that_the_table_says_we_encode() -> None:
    assert {number for number, row in TENSOR_TYPES.items() if row.encoder == "corral"} == {Q4_K, Q5_K, Q6_K}


def test_other_arithmetic_is_not_used(
    kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantize.kernels.compiler.compile_kernels", lambda _cache_dir: kernels)
    monkeypatch.setattr(kernels, "_pack_scale", lambda *_: None)
    assert KernelCompiler(tmp_path).wait() is None
