"""Every family: files equal those of llama.cpp's converter, and llama.cpp computes with them as it should.

The results are those of transformers with the checkpoint. One family alone: `-k <name>`. The golden files
(`tests/quantize/data/families`) are written by `test_families_oracle.py`; no torch here. Exceptions are
named, with their reasons, in the families; docs/architectures.md has them all in a table.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.architectures.families.eagle3 import Eagle3
from quantize.architectures.registry import ARCHITECTURES
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.job.publish import verify
from quantize.plan.make_plan import make_plan
from quantize.run.options import RunOptions
from quantize.run.pipeline import run
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import GOLDEN, TYPES, read_golden, unpack, write_checkpoint
from tests.quantize.families.family import Family
from tests.quantize.families.golden import by_llama_cpp
from tests.quantize.families.table import PAGE, page
from tests.quantize.summary import summary


@dataclass(frozen=True)
class Made:
    """A family's checkpoint, quantized to each of TYPES."""

    family: Family
    golden: dict[str, Any]
    paths: dict[str, Path]


@pytest.fixture(scope="module", params=ALL_FAMILIES, ids=str)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The files of a family, which its tests share; they are verified as a job's are."""
    family: Family = request.param
    golden = read_golden(family)
    parent = tmp_path_factory.mktemp(family.name)
    directory = write_checkpoint(family, parent, golden["config"], golden["tensors"])
    with Checkpoint.open(directory) as checkpoint:
        plan = make_plan(checkpoint, TYPES)
        paths = [parent / f"{file.type}.gguf" for file in plan.files]
        written = run(plan, checkpoint.tensors, paths, RunOptions(threads=2))
    for file, planned in zip(written, plan.files, strict=True):
        verify(file, planned)
    yield Made(family, golden, {file.type: file.path for file in written})
    shutil.rmtree(parent)


def without_exceptions(family: Family, found: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {k: v for k, v in found["metadata"].items() if k not in family.exceptions},
        "tensors": {k: v for k, v in found["tensors"].items() if f"tensor {k}" not in family.exceptions},
    }


def test_files_equal_the_converters(made: Made) -> None:
    assert tuple(made.paths) == TYPES
    for type_, path in made.paths.items():
        ours = without_exceptions(made.family, summary(path))
        theirs = without_exceptions(made.family, unpack(made.golden["converter"], type_))
        assert ours["metadata"] == theirs["metadata"]
        assert ours["tensors"] == theirs["tensors"]


@pytest.mark.model
def test_files_compute_what_the_checkpoint_does(made: Made) -> None:
    ours, theirs = by_llama_cpp(made.family, made.paths["F32"]), made.golden["decoded"]
    tolerance = made.family.tolerance * theirs["deviation"]
    np.testing.assert_allclose(ours["logits"], theirs["logits"], rtol=0, atol=tolerance)
    assert ours["tokens"] == theirs["tokens"]


def test_every_architecture_and_golden_file_has_its_family() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {family.name for family in ALL_FAMILIES}
    assert len({family.name for family in ALL_FAMILIES}) == len(ALL_FAMILIES)
    tested = {family.architecture for family in ALL_FAMILIES}
    untested = [known for known in ARCHITECTURES if not tested & set(known.huggingface_names)]
    assert untested == [Eagle3]  # It answers nothing without its model: test_eagle3.py has its own oracle.


def test_the_page_tells_what_is_tested() -> None:
    if os.environ.get("CORRAL_WRITE_GOLDEN"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page()
