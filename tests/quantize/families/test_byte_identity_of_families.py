"""Files of every family equal those of llama.cpp's own `llama_model_quantize`.

A third of them is tried here, the others by `make thorough`. The type rules look at names, experts,
heads, and whether the embeddings are tied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.quantize.families.family import Family
from tests.quantize.test_byte_identity import ALL_TYPES, assert_identical

pytestmark = pytest.mark.model

LONG = "deepseek2-lite"
"""This family's 27 layers take as long as twenty other families; `deepseek2` has its kinds of tensors."""

MIXTURES_AND_TERNARY = ["MXFP4_MOE", "TQ1_0", "TQ2_0", "Q8_0", "Q4_K_M"]

MULTIPLIED = "falcon-h1"
"""This family's matrices are multiplied in F32; llama.cpp's are F16 before they are quantized."""

FURTHER = pytest.mark.thorough

BY_NAME = {family.name: family for family in ALL_FAMILIES}


def further(*names: str) -> list[Any]:
    """Families that only `make thorough` tries."""
    return [pytest.param(name, marks=pytest.mark.thorough) for name in names]


def written(family: Family, parent: Path) -> Path:
    """Write the checkpoint in F16, the type of tensors that aren't quantized."""
    golden = read_golden(family)
    tensors = {
        name: (dtype if dtype == "I64" else "F16", shape)
        for name, (dtype, shape) in golden["tensors"].items()
    }
    return write_checkpoint(family, parent, golden["config"], tensors)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(
            family, id=str(family), marks=pytest.mark.thorough if at % 3 or family.name == LONG else ()
        )
        for at, family in enumerate(ALL_FAMILIES)
        if family.name != MULTIPLIED
    ],
)
def test_four_bits(family: Family, tmp_path: Path) -> None:
    assert_identical(written(family, tmp_path), "F16", tmp_path, ["Q4_K_M"])


@pytest.mark.slow
@pytest.mark.parametrize("group", [0, *(pytest.param(group, marks=FURTHER) for group in (1, 2))])
@pytest.mark.parametrize(
    "name", ["qwen2-moe", *further("mixtral", "qwen2", "qwen2-tied", "granite-moe-shared", "bert")]
)
def test_every_type(name: str, group: int, tmp_path: Path) -> None:
    """Experts, grouped queries, tied embeddings, a shared expert, fused experts, an encoder.

    A group is every third type; all types of a plain model are those of `test_byte_identity`.
    """
    family = BY_NAME[name]
    assert_identical(written(family, tmp_path), "F16", tmp_path, ALL_TYPES[group::3])


@pytest.mark.parametrize("name", ["qwen3-moe", *further("gpt-oss", "deepseek2")])
def test_types_of_mixtures_and_of_ternary_models(name: str, tmp_path: Path) -> None:
    """Experts of three axes, biases of experts, latent attention's matrices for each head."""
    assert_identical(written(BY_NAME[name], tmp_path), "F16", tmp_path, MIXTURES_AND_TERNARY)
