"""Every type's file made with an importance matrix equals that of llama.cpp's own quantizer.

All tests that encode in the types IQ1 and IQ2 are here: ggml makes the tables of those types once in a
process, which takes some twenty seconds of computing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import QuantizationError
from models.llamacpp.quantization.ggml_types import ALL_FTYPES, GGML_TYPES, IMATRIX_FTYPES, row_size
from models.llamacpp.quantization.quantizer import quantize_file, quantize_rows
from models.quantization_types import RULES_OF, TABLE, QuantizationType
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.imatrix.matrix import Importance, ImportanceMatrix
from quantize.plan.make_plan import make_plan
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions
from quantize.run.pipeline import run
from tests.pico import write_pico_checkpoint
from tests.quantize.families.test_byte_identity_of_families import (
    BY_NAME,
    MIXTURES_AND_TERNARY,
    further,
    written,
)
from tests.quantize.importance import assert_identical, tensors

pytestmark = pytest.mark.model

ENCODED = [row for row in TABLE if row.encoder is not None]
WITH_RULES = [name for name in ALL_FTYPES if name not in RULES_OF]
LAYERED = [name for name in ALL_FTYPES if name.startswith(("IQ", "Q4_0", "Q5_0"))]
"""With a matrix, these types treat an eighth of the layers apart, or the layers in between."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.thorough) for first in (1, 2))])
def test_every_type(first: int, tmp_path: Path) -> None:
    """Every third type, from each of the first three on."""
    assert_identical(write_pico_checkpoint(tmp_path / "pico"), tmp_path, WITH_RULES[first::3])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name",
    further("bert", "qwen2", "mixtral", "qwen2-tied", "qwen2-moe", "granite-moe-shared", "flan-t5"),
)
def test_every_type_of_other_families(name: str, tmp_path: Path) -> None:
    """Every type of other families; one tensor of a layer, and all of a kind that llama.cpp treats apart,
    with types of their own."""
    directory = written(BY_NAME[name], tmp_path)
    floats = {"F32", "BF16"}  # llama.cpp leaves a T5's relative biases as they are, here in F16
    assert_identical(directory, tmp_path, [type_ for type_ in WITH_RULES if type_ not in floats])
    overrides = {
        tensor: GGML_TYPES["Q8_0" if "down" in tensor else "IQ4_NL"]
        for tensor, (kind, _) in tensors(tmp_path / "base.gguf").items()
        if kind == "F16" and any(part in tensor for part in ("attn_v", "ffn_down"))
    }
    assert overrides
    assert_identical(directory, tmp_path, ["Q4_K_M", "IQ2_XXS"], overrides)


@pytest.mark.parametrize("name", ["gpt-oss", *further("qwen3-moe", "deepseek2")])
def test_types_of_mixtures_and_of_ternary_models(name: str, tmp_path: Path) -> None:
    """Also for experts to which no token came, or few."""
    assert_identical(written(BY_NAME[name], tmp_path), tmp_path, [*MIXTURES_AND_TERNARY, "IQ4_XS"])


@pytest.mark.parametrize("row", ENCODED, ids=lambda row: row.name)
def test_types_with_an_encoder_are_encoded(row: QuantizationType) -> None:
    assert row.ggml is not None
    rows = np.random.default_rng(0).standard_normal((2, 256), np.float32)
    out = np.zeros(2 * row_size(row.ggml, 256), np.uint8)
    n_bytes = quantize_rows(row.ggml, rows, out, np.ones(256, np.float32))
    assert n_bytes == row.nbytes(rows.size) == out.nbytes
    assert out.any()
    weighed = np.zeros_like(out)
    quantize_rows(row.ggml, rows, weighed, np.random.default_rng(1).gamma(0.5, 8.0, 256).astype(np.float32))
    assert row.takes_importance == (not np.array_equal(out, weighed))


@pytest.mark.parametrize(
    "types",
    [
        pytest.param(["Q4_0", "IQ4_XS", "IQ3_M", "IQ3_XS", "IQ2_S"], id="one of each rule"),
        pytest.param(LAYERED, id="all", marks=pytest.mark.thorough),
    ],
)
def test_an_eighth_of_the_layers(types: list[str], tmp_path: Path) -> None:
    """Nine layers: an eighth of them is one, for which llama.cpp's choice then is another."""
    directory = write_pico_checkpoint(
        tmp_path / "pico", n_layers=9, kv_heads=1, config={"intermediate_size": 256}
    )
    assert_identical(directory, tmp_path, types)


def test_types_by_name(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    overrides = {"blk.0.attn_v.weight": GGML_TYPES["Q8_0"], "blk.1.ffn_down.weight": GGML_TYPES["Q3_K"]}
    with Checkpoint.open(directory) as checkpoint:
        plan = make_plan(checkpoint, ["F16", "Q4_K_M"], name="x", choice=TypeChoice(overrides=overrides))
        run(plan, checkpoint.tensors, [tmp_path / "base.gguf", tmp_path / "ours.gguf"], RunOptions(threads=2))
    quantize_file(
        tmp_path / "base.gguf", tmp_path / "theirs.gguf", ALL_FTYPES["Q4_K_M"], 2, overrides=overrides
    )
    ours = tensors(tmp_path / "ours.gguf")
    assert ours == tensors(tmp_path / "theirs.gguf")
    assert ours["blk.0.attn_v.weight"][0] == "Q8_0"


def test_types_by_name_and_a_matrix(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    overrides = {"blk.0.attn_v.weight": GGML_TYPES["Q4_0"], "blk.1.ffn_down.weight": GGML_TYPES["IQ2_XS"]}
    ours = assert_identical(directory, tmp_path, ["Q4_K_M", "IQ3_XXS"], overrides)
    assert ours["Q4_K_M"]["blk.1.ffn_down.weight"][0] == "IQ2_XS"


@pytest.mark.parametrize("type_", list(IMATRIX_FTYPES))
def test_a_type_that_needs_one_is_refused_without(type_: str, tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    with (
        Checkpoint.open(directory) as checkpoint,
        pytest.raises(QuantizationError, match=f"{type_} needs an importance matrix"),
    ):
        make_plan(checkpoint, [type_])


def test_another_models_matrix_is_refused(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    wrong = Importance(np.ones((1, 64), np.float32), np.ones(1, np.int64))
    with Checkpoint.open(directory) as checkpoint:
        for name, words in (("blk.0.attn_q.weight", "another model"), ("blk.77.x.weight", "none of")):
            with pytest.raises(QuantizationError, match=words):
                make_plan(checkpoint, ["Q4_K_M"], choice=TypeChoice(ImportanceMatrix({name: wrong})))
