"""Every family: files equal those of llama.cpp's converter, and llama.cpp computes with them as it should.

The results are those of transformers with the checkpoint. One family alone: `-k <name>`. The golden files
(`tests/quantize/data/families`) are written by `test_families_oracle.py`; no torch here. Exceptions are
named, with their reasons, in the families; docs/architectures.md has them all in a table.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.architectures.registry import ARCHITECTURES
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import GOLDEN, TYPES, read_golden, unpack, write_checkpoint
from tests.quantize.families.family import Family
from tests.quantize.families.golden import by_llama_cpp
from tests.quantize.families.table import PAGE, page
from tests.quantize.quantize_folder import quantize_folder, run_plan
from tests.quantize.summary import summary

families = pytest.mark.parametrize("family", ALL_FAMILIES, ids=str)


def without_exceptions(family: Family, found: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {k: v for k, v in found["metadata"].items() if k not in family.exceptions},
        "tensors": {k: v for k, v in found["tensors"].items() if f"tensor {k}" not in family.exceptions},
    }


@families
def test_files_equal_the_converters(family: Family, tmp_path: Path) -> None:
    golden = read_golden(family)
    directory = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    for file in run_plan(directory, TYPES, tmp_path):
        ours = without_exceptions(family, summary(file.path))
        theirs = without_exceptions(family, unpack(golden["converter"], file.type))
        assert ours["metadata"] == theirs["metadata"]
        assert ours["tensors"] == theirs["tensors"]


@pytest.mark.model
@families
def test_files_compute_what_the_checkpoint_does(family: Family, tmp_path: Path) -> None:
    golden = read_golden(family)
    directory = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    (file,) = quantize_folder(directory, ["F32"], tmp_path)
    ours, theirs = by_llama_cpp(family, file.path), golden["decoded"]
    tolerance = family.tolerance * theirs["deviation"]
    np.testing.assert_allclose(ours["logits"], theirs["logits"], rtol=0, atol=tolerance)
    assert ours["tokens"] == theirs["tokens"]


def test_every_architecture_and_golden_file_has_its_family() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {family.name for family in ALL_FAMILIES}
    assert len({family.name for family in ALL_FAMILIES}) == len(ALL_FAMILIES)
    tested = {family.architecture for family in ALL_FAMILIES}
    assert [known for known in ARCHITECTURES if not tested & set(known.huggingface_names)] == []


def test_the_page_tells_what_is_tested() -> None:
    if os.environ.get("CORRAL_WRITE_GOLDEN"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page()
