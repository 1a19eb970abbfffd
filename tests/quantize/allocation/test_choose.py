"""A size chosen for the demo model: less is lost than by llama.cpp's own choice of types at that size."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from models.demo import DEMO_DIR
from models.errors import QuantizationError
from quantize.allocation.choose import Budget, budget_of_bits, choose
from quantize.allocation.trial import TrialModel
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.evaluate.measure import measure
from quantize.evaluate.windows import TextPlan, read_text
from quantize.imatrix.compute import compute_imatrix
from quantize.plan.make_plan import make_plan
from quantize.plan.type_recipe import read_type_recipe, write_type_recipe
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions
from quantize.run.pipeline import run
from tests.pico import write_pico_checkpoint
from tests.quantize.quantize_folder import quantize_folder

pytestmark = pytest.mark.model

TEXTS = DEMO_DIR / "texts"


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_a_sixth_less_is_lost_at_the_size_of_q4_k_m(tmp_path: Path) -> None:
    calibration = read_text((TEXTS / "calibration.txt").read_bytes())
    held_out = read_text((TEXTS / "held_out.txt").read_bytes())
    sixteen = quantize_folder("demo", ["F16"], tmp_path)[0].path
    matrix = compute_imatrix(sixteen, TextPlan(calibration, n_chunks=40), dataset="calibration", threads=2)
    with Checkpoint.open(DEMO_DIR) as checkpoint:
        planned = make_plan(checkpoint, ["Q4_K_M"], choice=TypeChoice(matrix)).files[0]
        budget = Budget(planned.size_bytes, planned)
        choice = TypeChoice(matrix)
        with TrialModel(sixteen, TextPlan(calibration, n_chunks=4), choice, threads=2) as model:
            recipe = choose(budget, model, choice)
        write_type_recipe(recipe, tmp_path / "recipe.json")
        recipe = read_type_recipe(tmp_path / "recipe.json")
        choice = TypeChoice(matrix, (recipe,))
        plan = make_plan(checkpoint, ["Q4_K_M", recipe.name], choice=choice)
        paths = [tmp_path / "q4.gguf", tmp_path / "mix.gguf"]
        run(plan, checkpoint.tensors, paths, RunOptions(threads=2))
    assert paths[1].stat().st_size <= paths[0].stat().st_size
    assert paths[1].stat().st_size == recipe.size_bytes
    _, theirs, ours = measure(paths, sixteen, TextPlan(held_out, n_chunks=16), threads=2)
    assert theirs.divergence is not None
    assert ours.divergence is not None
    assert ours.divergence.mean.value < 0.85 * theirs.divergence.mean.value


def test_too_small_a_size_is_refused(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    sixteen = quantize_folder(directory, ["F16"], tmp_path)[0].path
    text = "abc def ghi " * 60
    with Checkpoint.open(directory) as checkpoint:
        planned = make_plan(checkpoint, ["Q4_K_M"]).files[0]
    choice = TypeChoice()
    with TrialModel(sixteen, TextPlan(text, n_ctx=32, n_chunks=2), choice, threads=2) as model:
        with pytest.raises(QuantizationError, match="the smallest"):
            choose(Budget(1000, planned), model, choice)
        recipe = choose(budget_of_bits(planned, 5.0), model, choice)
    assert recipe.bits_per_weight <= 5.0
    assert recipe.name == f"MIX-{recipe.bits_per_weight:.2f}"


def test_too_small_a_size_is_refused_before_anything_is_tried(tmp_path: Path) -> None:
    with Checkpoint.open(write_pico_checkpoint(tmp_path / "pico")) as checkpoint:
        planned = make_plan(checkpoint, ["Q4_K_M"]).files[0]
    with pytest.raises(QuantizationError, match="the smallest"):
        choose(Budget(1000, planned), cast("TrialModel", None), TypeChoice())
