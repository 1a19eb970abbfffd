from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import LlamaCppError
from models.llamacpp.quantization import quantizer
from models.llamacpp.quantization.ggml_types import FTYPES, GGML_TYPES, row_size, tensor_size, type_name
from models.llamacpp.quantization.quantizer import quantize_file, quantize_rows, requires_imatrix
from models.llamacpp.quantization.type_rules import ModelDescription, type_plan
from models.quantization_types import RULES_OF
from tests.gguf_reader import QuickReader

TINY = ModelDescription("llama", 256, 512, 2, 4, 2, 64, 64)

# Rows of 288 and 576: no k-quant fits the first, so llama.cpp falls back; and a 10-layer model, where
# "more bits" go to some layers only.
SHAPES = {
    "plain": TinyModel(),
    "odd rows": TinyModel(n_layer=1, n_embd=288, n_ff=576),
    "ten layers": TinyModel(n_layer=10, n_embd=256, n_ff=256),
    "no grouping": TinyModel(n_head=4, n_head_kv=4),
}


def describe(tiny: TinyModel) -> ModelDescription:
    return ModelDescription(
        architecture="llama",
        n_embd=tiny.n_embd,
        n_ff=tiny.n_ff,
        n_layer=tiny.n_layer,
        n_head=tiny.n_head,
        n_head_kv=tiny.n_head_kv,
        n_embd_head_k=tiny.n_embd_head,
        n_embd_head_v=tiny.n_embd_head,
    )


def read_tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in QuickReader(path).tensors}


def encode(ggml_type: int, rows: npt.NDArray[np.float32]) -> bytes:
    out = np.empty(tensor_size(ggml_type, rows.shape[::-1]), np.uint8)
    assert quantize_rows(ggml_type, rows, out) == out.nbytes
    return out.tobytes()


CASES = [
    *((shape, name) for shape in ("plain", "odd rows") for name in FTYPES if name not in RULES_OF),
    *(("ten layers", name) for name in ("Q5_K_M", "Q4_K_M", "Q4_K_S", "Q3_K_L", "IQ4_XS")),
    *(("no grouping", name) for name in ("Q4_K_M", "IQ4_XS")),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("quantizer")
    return {name: write_tiny_gguf(directory / f"{name}.gguf", tiny) for name, tiny in SHAPES.items()}


@pytest.mark.model
@pytest.mark.parametrize(("shape", "name"), CASES)
def test_the_bytes_are_those_of_llama_model_quantize(
    shape: str, name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    tiny, path = SHAPES[shape], sources[shape]
    quantize_file(path, tmp_path / "oracle.gguf", FTYPES[name], n_threads=2)
    expected = read_tensors(tmp_path / "oracle.gguf")
    tensors = read_tensors(path)
    listed = [(item.name, item.shape.tolist(), int(item.tensor_type)) for item in tensors.values()]
    planned = dict(zip(tensors, type_plan(describe(tiny), FTYPES[name], listed), strict=True))
    assert {key: type_name(value) for key, value in planned.items()} == {
        key: item.tensor_type.name for key, item in expected.items()
    }
    for key, ggml_type in planned.items():
        data = tensors[key].data
        rows = np.ascontiguousarray(data.reshape(-1, data.shape[-1]), np.float32)
        assert encode(ggml_type, rows) == expected[key].data.tobytes(), key


def test_all_symbols_are_there() -> None:
    quantizer.check_symbols()


@pytest.mark.parametrize("name", ["Q4_K", "Q8_0", "IQ4_XS", "F16"])
def test_pieces_from_several_threads_are_the_whole(name: str) -> None:
    rows = np.random.default_rng(0).standard_normal((64, 512), np.float32)
    ggml_type = GGML_TYPES[name]
    out = np.zeros(tensor_size(ggml_type, (512, 64)), np.uint8)
    stride = row_size(ggml_type, 512)
    with ThreadPoolExecutor(4) as pool:
        pieces = [
            pool.submit(quantize_rows, ggml_type, rows[start : start + 4], out[start * stride :])
            for start in range(0, 64, 4)
        ]
        assert sum(piece.result() for piece in pieces) == out.nbytes
    assert out.tobytes() == encode(ggml_type, rows)


def test_an_importance_matrix_changes_the_bytes() -> None:
    rows = np.random.default_rng(0).standard_normal((4, 256), np.float32)
    out = np.empty(tensor_size(GGML_TYPES["Q4_K"], (256, 4)), np.uint8)
    weights = np.linspace(0.1, 10, 256, dtype=np.float32)
    quantize_rows(GGML_TYPES["Q4_K"], rows, out, weights)
    assert out.tobytes() != encode(GGML_TYPES["Q4_K"], rows)
    with pytest.raises(LlamaCppError, match=r"must be float32 \[256\]"):
        quantize_rows(GGML_TYPES["Q4_K"], rows, out, weights[:128])
    with pytest.raises(LlamaCppError, match="aren't finite"):
        quantize_rows(GGML_TYPES["Q4_K"], rows, out, weights * np.float32("nan"))


def test_types_that_need_an_importance_matrix_say_so() -> None:
    assert requires_imatrix(GGML_TYPES["IQ2_XXS"])
    assert not requires_imatrix(GGML_TYPES["Q4_K"])
    rows = np.zeros((1, 256), np.float32)
    with pytest.raises(LlamaCppError, match="IQ2_XXS can't be encoded without an importance matrix"):
        quantize_rows(GGML_TYPES["IQ2_XXS"], rows, np.empty(256, np.uint8))


@pytest.mark.parametrize(
    ("ggml_type", "rows", "n_out", "words"),
    [
        (99, np.zeros((1, 256), np.float32), 256, "can't be written from floats"),
        (24, np.zeros((1, 256), np.float32), 256, "can't be written from floats"),
        (12, np.zeros((1, 100), np.float32), 256, "blocks hold 256"),
        (12, np.zeros(256, np.float32), 256, "must be float32"),
        (12, np.zeros((1, 256), np.float64), 256, "must be float32"),
        (12, np.zeros((256, 2), np.float32).T, 512, "in C order"),
        (12, np.zeros((2, 256), np.float32), 287, "at least 288 bytes, not 287"),
        (12, np.full((2, 256), np.nan, np.float32), 288, "512 of 512 values are NaN or infinite"),
        (1, np.full((1, 256), 1e6, np.float32), 512, "too large for F16.*1e.06"),
    ],
)
def test_rows_that_cant_be_encoded(
    ggml_type: int, rows: npt.NDArray[np.float32], n_out: int, words: str
) -> None:
    with pytest.raises(LlamaCppError, match=words):
        quantize_rows(ggml_type, rows, np.empty(n_out, np.uint8))


def test_read_only_output_is_refused() -> None:
    out = np.empty(144, np.uint8)
    out.flags.writeable = False
    with pytest.raises(LlamaCppError, match="writable"):
        quantize_rows(12, np.zeros((1, 256), np.float32), out)


def test_no_rows_are_no_bytes() -> None:
    assert quantize_rows(12, np.empty((0, 256), np.float32), np.empty(0, np.uint8)) == 0


def test_a_file_that_cant_be_quantized_gives_the_reason(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"not a gguf file")
    with pytest.raises(LlamaCppError, match=r"can't quantize .*bad\.gguf: .*magic"):
        quantize_file(tmp_path / "bad.gguf", tmp_path / "out.gguf", FTYPES["Q8_0"])
