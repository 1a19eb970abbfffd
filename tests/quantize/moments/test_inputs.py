from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import CorralError, LlamaCppError, QuantizationError
from models.llamacpp.model import Model
from quantize.evaluate.windows import TextPlan, Windows
from quantize.imatrix.compute import compute_imatrix
from quantize.moments.collect import collect_moments
from quantize.moments.inputs import Input, InputFinder, find_inputs, last_product
from tests.quantize.families.test_byte_identity_of_families import BY_NAME, written
from tests.quantize.moments.synthetic import activations, correlated
from tests.quantize.quantize_folder import run_plan

A, B = correlated(0, 16, 64), correlated(1, 16, 64)


def found(name: str, tmp_path: Path) -> list[Input]:
    """The inputs of a family's tiny model."""
    path = run_plan(written(BY_NAME[name], tmp_path), ["F16"], tmp_path)[0].path
    with Model.load(path) as model:
        tokens = (np.arange(64, dtype=np.int32) % (model.vocab.n_tokens - 8) + 4)[None, :]
        return find_inputs(model, Windows(tokens, model.vocab.bos if model.vocab.add_bos else None), 1)


def layer(inputs: list[Input], number: int) -> list[list[str]]:
    """The weights of a layer's inputs, without what all their names have in common."""
    prefix = f"blk.{number}."
    shared = [
        [w.removeprefix(prefix).removesuffix(".weight") for w in one.weights]
        for one in inputs
        if one.name.startswith(prefix)
    ]
    return [sorted(names) for names in shared]


def test_weights_that_meet_the_same_tensor_share_it() -> None:
    finder = InputFinder()
    for name, rows, source in (
        ("q", A, 1),
        ("k", A, 1),
        ("o", A, 2),
        ("gate", B, 1),
        ("narrow", A[:, :40], 3),
    ):
        finder.add(activations(f"{name}.weight", rows.copy(), source=source))
    assert [one.weights for one in finder.inputs()] == [
        ("q.weight", "k.weight"),
        ("o.weight",),
        ("gate.weight",),
    ]
    assert [one.places for one in finder.inputs()] == [(0,), (2,), (3,)]
    assert last_product(finder.inputs()) == "gate.weight"


def test_weights_that_are_met_twice_share_both_times_or_nothing() -> None:
    finder = InputFinder()
    for name, rows, source in (("a", A, 1), ("b", A, 1), ("c", A, 1), ("a", B, 2), ("b", B, 2)):
        finder.add(activations(f"{name}.weight", rows, source=source))
    assert [one.weights for one in finder.inputs()] == [("a.weight", "b.weight"), ("c.weight",)]
    assert last_product(finder.inputs()) is None


def test_the_output_matrix_has_its_name_where_embeddings_are_tied() -> None:
    finder = InputFinder()
    finder.add(activations("token_embd.weight", A))
    assert [one.weights for one in finder.inputs()] == [("token_embd.weight", "output.weight")]


@pytest.mark.model
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [("flan-t5", QuantizationError, "has an encoder"), ("bert", LlamaCppError, "an encoder-only model")],
)
def test_models_that_continue_no_text_are_refused(
    name: str, error: type[CorralError], words: str, tmp_path: Path
) -> None:
    path = run_plan(written(BY_NAME[name], tmp_path), ["F16"], tmp_path)[0].path
    plan = TextPlan("the cat sat on the mat " * 200, 32)
    with pytest.raises(error, match=words):
        collect_moments(path, plan, tmp_path / "moments.gguf", label="text")
    with pytest.raises(error, match=words):
        compute_imatrix(path, plan, dataset="text")


@pytest.mark.model
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen2", [["attn_k", "attn_q", "attn_v"], ["attn_output"], ["ffn_gate", "ffn_up"], ["ffn_down"]]),
        ("gpt2", [["attn_qkv"], ["attn_output"], ["ffn_up"], ["ffn_down"]]),
        (
            "qwen3-moe",
            [
                ["attn_k", "attn_q", "attn_v"],
                ["attn_output"],
                ["ffn_gate_exps", "ffn_up_exps"],
                ["ffn_down_exps"],
            ],
        ),
    ],
)
def test_inputs_of_real_graphs(name: str, expected: list[list[str]], tmp_path: Path) -> None:
    inputs = found(name, tmp_path)
    for number in range(2):
        assert layer(inputs, number) == expected
    assert inputs[-1].weights[-1] == "output.weight"
    experts = [one for one in inputs if one.routed]
    assert [one.n_matrices for one in experts] == ([4] * 4 if name == "qwen3-moe" else [])
