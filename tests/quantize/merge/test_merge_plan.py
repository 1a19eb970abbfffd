"""Layers in another order: names, which tensors come from where, parameters along a slice, config.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from tests.pico import write_safetensors
from tests.quantize.merge.models import (
    assert_equal,
    copy_model,
    edit_config,
    open_recipe,
    weights,
    whole,
    write_family,
)

Q = "model.layers.{}.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("family"), ["base", "one"], n_layers=3)


def stacked(*ranges: tuple[str, int, int], **more: Any) -> dict[str, Any]:
    slices = [{"sources": [{"model": model, "layer_range": [first, end]}]} for model, first, end in ranges]
    return {"merge_method": "passthrough", "slices": slices, **more}


def test_a_frankenmerge(family: Path) -> None:
    with open_recipe(family, stacked(("base", 0, 2), ("one", 1, 3), ("one", 0, 1))) as checkpoint:
        ours = whole(checkpoint.tensors)
        assert checkpoint.config["num_hidden_layers"] == 5
    base, one = weights(family / "base"), weights(family / "one")
    expected = {name: value for name, value in one.items() if ".layers." not in name}
    expected["model.embed_tokens.weight"] = base["model.embed_tokens.weight"]
    for new, (model, old) in enumerate([(base, 0), (base, 1), (one, 1), (one, 2), (one, 0)]):
        expected |= {
            name.replace(f".{old}.", f".{new}.", 1): value
            for name, value in model.items()
            if name.startswith(f"model.layers.{old}.")
        }
    assert_equal(ours, expected)


def test_lists_by_layer_are_put_in_order(tmp_path: Path) -> None:
    folder = write_family(tmp_path, ["base"], n_layers=3)
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    edit_config(folder / "base", layer_types=kinds)
    with open_recipe(folder, stacked(("base", 1, 3), ("base", 1, 2))) as checkpoint:
        assert checkpoint.config["layer_types"] == [kinds[1], kinds[2], kinds[1]]
        assert checkpoint.config["architectures"] == ["LlamaForCausalLM"]


def test_layers_that_are_told_by_number_stay(tmp_path: Path) -> None:
    folder = write_family(tmp_path, ["base"], n_layers=3)
    edit_config(folder / "base", first_k_dense_replace=1)
    with pytest.raises(CheckpointError, match="first_k_dense_replace"):
        open_recipe(folder, stacked(("base", 1, 3)))
    open_recipe(folder, stacked(("base", 0, 3))).close()


def test_parameters_along_the_layers(family: Path) -> None:
    """t goes from 0 to 1 over the slice's layers; outside of them it is the first."""
    recipe = {
        "merge_method": "slerp",
        "base_model": "base",
        "slices": [
            {"sources": [{"model": "base", "layer_range": [0, 3]}, {"model": "one", "layer_range": [0, 3]}]}
        ],
        "parameters": {"t": [{"filter": "mlp", "value": [1, 0]}, {"value": [0, 1]}]},
    }
    with open_recipe(family, recipe) as checkpoint:
        ours = whole(checkpoint.tensors)
    base, one = weights(family / "base"), weights(family / "one")

    def near(name: str, model: dict[str, Any]) -> bool:
        return bool(np.allclose(ours[name], model[name], rtol=0, atol=1e-6))

    assert near(Q.format(0), base)
    assert near(Q.format(2), one)
    assert not near(Q.format(1), base)
    assert not near(Q.format(1), one)
    assert near("model.layers.0.mlp.up_proj.weight", one)
    assert near("model.layers.2.mlp.up_proj.weight", base)
    assert near("lm_head.weight", base)


def test_slices_are_models_when_they_are_everything(family: Path) -> None:
    parameters = {"parameters": {"weight": [0.2, 0.9]}}
    models = [{"model": name, **parameters} for name in ("base", "one")]
    ranges = {"layer_range": [0, 3]}
    with open_recipe(family, {"merge_method": "linear", "models": models}) as checkpoint:
        expected = whole(checkpoint.tensors)
    sliced = [{"sources": [model | ranges for model in models]}]
    with open_recipe(family, {"merge_method": "linear", "slices": sliced}) as checkpoint:
        assert_equal(whole(checkpoint.tensors), expected)


def test_the_slice_decides_before_the_recipe_and_the_model_before_both(family: Path) -> None:
    sources: list[dict[str, Any]] = [{"model": "base", "layer_range": [0, 3], "parameters": {"scale": 2}}]
    slices: list[dict[str, Any]] = [{"sources": sources, "parameters": {"scale": 3}}]
    recipe: dict[str, Any] = {"merge_method": "passthrough", "slices": slices, "parameters": {"scale": 4}}
    base = weights(family / "base")[Q.format(0)]
    for scale in (2, 3, 4, 1):
        with open_recipe(family, recipe) as checkpoint:
            ours = checkpoint.tensors.rows(Q.format(0), 0, 256)
        assert ours.tobytes() == (base * np.float32(scale)).tobytes()
        for holder in (recipe, slices[0], sources[0]):
            if holder.get("parameters", {}).get("scale") == scale:
                del holder["parameters"]


@pytest.mark.parametrize("first", ["base", "untied/base"])
def test_a_tied_model_takes_part_with_its_embedding_as_its_output(first: str, tmp_path: Path) -> None:
    """As in mergekit; the result has an output matrix of its own, whoever gave the configuration."""
    folder = write_family(tmp_path / "tied", ["base"], n_layers=1, tie=True)
    write_family(folder / "untied", ["base"], n_layers=1, seed=7)
    tied, untied = weights(folder / "base"), weights(folder / "untied" / "base")
    names = (first, *({"base", "untied/base"} - {first}))
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in names]
    expected = (tied["model.embed_tokens.weight"] + untied["lm_head.weight"]) / 2
    with open_recipe(folder, {"merge_method": "linear", "models": models}) as checkpoint:
        ours = checkpoint.tensors.rows("lm_head.weight", 0, len(expected))
        assert checkpoint.config["tie_word_embeddings"] is False
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("names", [("base", "copy"), ("copy", "base"), ("copy", "head"), ("head", "base")])
def test_tied_models_may_store_their_matrix_under_either_name(names: tuple[str, str], tmp_path: Path) -> None:
    folder = write_family(tmp_path / "tied", ["base"], n_layers=1, tie=True)
    embedding = weights(folder / "base")["model.embed_tokens.weight"]
    for name, kept in (("copy", True), ("head", False)):
        copy_model(folder / "base", folder / name, lambda value: value)
        tensors = weights(folder / name) | {"lm_head.weight": embedding}
        if not kept:
            del tensors["model.embed_tokens.weight"]
        write_safetensors(folder / name / "model.safetensors", tensors)
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in names]
    with open_recipe(folder, {"merge_method": "linear", "models": models}) as checkpoint:
        assert set(checkpoint.tensors.entries) == set(weights(folder / "base"))
        assert checkpoint.config["tie_word_embeddings"] is True
        ours = checkpoint.tensors.rows("model.embed_tokens.weight", 0, len(embedding))
    np.testing.assert_allclose(ours, embedding, atol=1e-6)


def test_an_untied_model_needs_its_output(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "tied", ["base"], n_layers=1, tie=True)
    write_family(folder / "untied", ["base"], n_layers=1)
    models = [{"model": name, "parameters": {"weight": 1}} for name in ("base", "untied/base")]
    edit_config(folder / "base", tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match="lm_head"):
        open_recipe(folder, {"merge_method": "linear", "models": models})
