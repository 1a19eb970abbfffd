"""A recipe carried out: the file has the types it says and passes the check after writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import QuantizationError
from models.gguf.info import read_gguf_info
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.job.publish import verify
from quantize.plan.make_plan import make_plan
from quantize.plan.plan import PlannedFile
from quantize.plan.type_recipe import TypeRecipe, read_type_recipe, write_type_recipe
from quantize.plan.types import TypeChoice
from quantize.run.pipeline import run
from tests.pico import write_pico_checkpoint


def test_a_file_by_a_recipe_is_what_was_planned(tmp_path: Path) -> None:
    types = {"blk.0.attn_q.weight": "Q6_K", "blk.1.ffn_down.weight": "IQ4_XS"}
    recipe = TypeRecipe(
        name="MIX-5.00", base="Q4_K_M", types=types, target_bytes=1, size_bytes=1, bits_per_weight=5.0
    )
    with Checkpoint.open(write_pico_checkpoint(tmp_path / "pico")) as checkpoint:
        plan = make_plan(checkpoint, ["MIX-5.00"], choice=TypeChoice(recipes=(recipe,)))
        (file,) = run(plan, checkpoint.tensors, [tmp_path / "x.gguf"])
    verify(file, plan.files[0])
    written = {tensor.name: tensor.type for tensor in read_gguf_info(tmp_path / "x.gguf").tensors}
    assert {name: written[name] for name in types} == types
    (other,) = [f for f in make_plan_of(tmp_path / "pico") if f.type == "Q8_0"]
    with pytest.raises(QuantizationError, match="isn't what was planned"):
        verify(file, other)


def make_plan_of(folder: Path) -> tuple[PlannedFile, ...]:
    with Checkpoint.open(folder) as checkpoint:
        return make_plan(checkpoint, ["Q8_0"]).files


@pytest.mark.parametrize(("base", "type_"), [("NVFP4", "Q6_K"), ("Q4_K_M", "NVFP4")])
def test_a_recipe_cant_have_tensors_that_need_second_scales(base: str, type_: str, tmp_path: Path) -> None:
    recipe = TypeRecipe(
        name="MIX-5.00",
        base=base,
        types={"blk.0.attn_q.weight": type_},
        target_bytes=1,
        size_bytes=1,
        bits_per_weight=5.0,
    )
    write_type_recipe(recipe, tmp_path / "x.json")
    with pytest.raises(QuantizationError, match="has NVFP4 for single tensors"):
        read_type_recipe(tmp_path / "x.json")
