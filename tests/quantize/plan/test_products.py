"""The products that a plan lets expect: no tables, but a tied matrix, and of experts those that are used."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize.checkpoint.checkpoint import Checkpoint
from quantize.plan.make_plan import make_plan
from quantize.plan.plan import QuantizationPlan
from quantize.plan.products import Product, products_of
from tests.pico import write_pico_checkpoint
from tests.quantize.families.test_byte_identity_of_families import BY_NAME, written


def plan_of(directory: Path) -> QuantizationPlan:
    with Checkpoint.open(directory) as checkpoint:
        return make_plan(checkpoint, ["F16"])


@pytest.mark.parametrize("tie", [False, True])
def test_layers_and_the_output_matrix(tie: bool, tmp_path: Path) -> None:
    plan = plan_of(write_pico_checkpoint(tmp_path / "pico", tie=tie))
    *layers, output = products_of(plan)
    assert output.name == ("token_embd.weight" if tie else "output.weight")
    assert [product.layer for product in layers] == [0] * 7 + [1] * 7
    n_weights = sum(tensor.n_elements for tensor in plan.tensors if tensor.name.startswith("blk."))
    norms = sum(
        tensor.n_elements for tensor in plan.tensors if tensor.name.startswith("blk.") and tensor.always_f32
    )
    assert sum(product.operations for product in layers) == n_weights - norms


def test_experts_that_a_token_is_routed_to(tmp_path: Path) -> None:
    plan = plan_of(written(BY_NAME["mixtral"], tmp_path))
    used = plan.files[0].metadata["llama.expert_used_count"].data
    experts = [product for product in products_of(plan) if "_exps" in product.name]
    assert {product.n_used for product in experts} == {used}
    assert all(product.n_matrices > used for product in experts)
    assert Product("blk.1.ffn_up_exps.weight", (64, 32, 8), 8, 2).operations == 2 * 64 * 32
