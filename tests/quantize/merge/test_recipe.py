"""Recipes: what each key means, and a message for everything that means nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.errors import CheckpointError, ConfigError, ModelNotFound
from quantize.merge.parameters import parse_setting
from quantize.merge.recipe import parse_recipe
from tests.quantize.merge.models import edit_config, open_recipe, write_family

TIES = """
merge_method: ties
base_model: base
models:
  - model: base
  - {model: one, parameters: {weight: 0.5, density: 1e-1}}
  - {model: two, parameters: {weight: [0, 1]}}
parameters: {normalize: false}
dtype: bfloat16
tokenizer_source: base
"""


def test_a_recipe_is_read() -> None:
    recipe = parse_recipe(TIES.encode())
    assert recipe.method.name == "ties"
    assert recipe.models == ("base", "one", "two")
    assert (recipe.dtype, recipe.tokenizer_model, recipe.donor) == ("bfloat16", "base", "base")
    assert recipe.slices[0].inputs[1].parameters["density"].at("x", 0) == 0.1
    assert recipe.text == TIES


def test_a_base_that_is_not_listed_takes_part() -> None:
    recipe = parse_recipe(TIES.replace("  - model: base\n", "").encode())
    assert [source.model for source in recipe.slices[0].inputs] == ["one", "two", "base"]


@pytest.mark.parametrize(
    ("value", "tensor", "position", "expected"),
    [
        (0.3, "x", 0.5, 0.3),
        ("2.5e-1", "x", 0.5, 0.25),
        ([0, 1], "x", 0.25, 0.25),
        ([0, 1, 0.5], "x", 0.75, 0.75),
        ([0, 1, 0.5], "x", 1.0, 0.5),
        ([{"filter": "mlp", "value": 1}, {"value": 0}], "a.mlp.b", 0, 1.0),
        ([{"filter": "mlp", "value": 1}, {"value": 0}], "a.attn.b", 0, 0.0),
        ([{"filter": "mlp", "value": [0, 1]}, {"filter": "*", "value": 3}], "a.mlp", 0.5, 0.5),
        ({"filter": "mlp", "value": 1}, "attn", 0, None),
        (True, "x", 0, True),
    ],
)
def test_settings(value: Any, tensor: str, position: float, expected: float | None) -> None:
    assert parse_setting(value, "t").at(tensor, position) == expected


@pytest.mark.parametrize(
    "value",
    [
        "half",
        None,
        [],
        [0.5, "half"],
        [True, 0.5],
        float("nan"),
        [{"filter": 1, "value": 1}],
        [{"filter": "x"}],
        [[1]],
    ],
)
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="weight of one"):
        parse_setting(value, "weight of one")


UNEQUAL = """
merge_method: linear
slices:
- sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [0, 2]}]
"""


def changed(old: str, new: str) -> str:
    assert old in TIES
    return TIES.replace(old, new)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "valid YAML"),
        ("- a", "named fields"),
        ("a: " * 3, "valid YAML"),
        (changed("merge_method: ties", "merge_method: magic"), "'magic'; known are linear, slerp"),
        (changed("merge_method: ties", ""), "merge_method .* is None"),
        (changed("weight: 0.5,", "weight: heavy,"), "weight .* is 'heavy'; it must be a number"),
        (changed("density: 1e-1", "gamma: 0.1"), "'gamma', which has no meaning there; ties has"),
        (changed("normalize: false", "int8_mask: true"), "int8_mask, which changes nothing here"),
        (changed("dtype: bfloat16", "dtype: float8"), "float8"),
        (changed("dtype: bfloat16", "dtype: bfloat16\nout_dtype: float16"), "always computed in float32"),
        (changed("dtype: bfloat16", "dtipe: bfloat16"), "'dtipe'"),
        (changed("dtype: bfloat16", "base_model: one"), "'base_model' twice"),
        (changed("tokenizer_source: base", "tokenizer_source: union"), "union of tokenizers"),
        (changed("tokenizer_source: base", "tokenizer_source: three"), "none of the merged models"),
        (changed("tokenizer_source: base", "tokenizer: {source: base}"), "tokenizer: embeddings"),
        (changed("tokenizer_source: base", "modules: {}"), "several modules"),
        (changed("tokenizer_source: base", "slices: []"), "either `models` or `slices`"),
        (changed("base_model: base\n", ""), "there is no base_model"),
        ("merge_method: ties\nmodels: [{model: a}, {model: b}]", "give base_model"),
        (changed("{model: two,", "{model: one,"), "twice side by side"),
        (changed("  - model: base\n", "  - model: [base]\n"), "org/name, as text"),
        ("merge_method: linear\nmodels: []", "at least one"),
        ("merge_method: linear\nmodels: [{parameters: {weight: 1}}]", "without a model"),
        (
            "merge_method: linear\nbase_model: b\nmodels: [{model: a, parameters: {weight: 1}}]",
            "b isn't among them",
        ),
        ("merge_method: passthrough\nmodels: [{model: a}, {model: b}]", "one model, and 2"),
        ("merge_method: slerp\nbase_model: a\nmodels: [{model: b}, {model: c}]", "exactly 2 models, and 3"),
        ("merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [2, 1]}]}]", "layer_range"),
        ("merge_method: passthrough\nslices: [{sources: [{model: a}]}]", "layer_range .* is None"),
        (
            UNEQUAL,
            "equal numbers",
        ),
    ],
)
def test_what_means_nothing_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_recipe(text.encode())


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_family(tmp_path_factory.mktemp("family"), ["base", "one"], n_layers=1)
    write_family(folder / "wide", ["base"], n_layers=1, config={"vocab_size": 500})
    write_family(folder / "deep", ["base"], n_layers=2)
    write_family(folder / "other", ["base"], n_layers=1)
    edit_config(folder / "other" / "base", architectures=["MistralForCausalLM"])
    return folder


def linear(model: str, **more: Any) -> dict[str, Any]:
    models = [{"model": name, "parameters": {"weight": 1}} for name in ("base", model)]
    return {"merge_method": "linear", "models": models, **more}


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (linear("wide/base"), r"embed_tokens.weight has the shape \[500, 256\] in wide/base and"),
        (linear("deep/base"), "base has no tensor model.layers.1"),
        (linear("other/base"), "other/base is MistralForCausalLM and base is LlamaForCausalLM"),
    ],
)
def test_models_that_disagree(recipe: dict[str, Any], said: str, family: Path) -> None:
    with pytest.raises(CheckpointError, match=said):
        open_recipe(family, recipe)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"merge_method": "linear", "models": [{"model": "base"}, {"model": "one"}]}, "has no weight for"),
        ({"merge_method": "slerp", "base_model": "base", "models": [{"model": "one"}]}, "has no t for"),
        (linear("one", parameters={"normalize": 0.5}), "normalize is 0.5 .* true or false"),
        (
            {
                "merge_method": "ties",
                "base_model": "base",
                "models": [{"model": "one", "parameters": {"weight": 1, "density": 1.5}}],
            },
            "density is 1.5 .* from 0 to 1",
        ),
        (
            {
                "merge_method": "task_arithmetic",
                "base_model": "base",
                "models": [
                    {"model": "base", "parameters": {"weight": 1}},
                    {"model": "one", "parameters": {"weight": 1}},
                ],
            },
            "base is the base and has weight",
        ),
        (
            {
                "merge_method": "linear",
                "models": [
                    {"model": "base", "parameters": {"weight": -1}},
                    {"model": "one", "parameters": {"weight": 1}},
                ],
            },
            "add up to 0",
        ),
        (
            {
                "merge_method": "passthrough",
                "slices": [{"sources": [{"model": "one", "layer_range": [0, 2]}]}],
            },
            "one has 1 layers",
        ),
    ],
)
def test_parameters_that_are_missing_or_wrong(recipe: dict[str, Any], said: str, family: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        open_recipe(family, recipe)


def test_a_model_that_is_not_there(family: Path) -> None:
    with pytest.raises(ModelNotFound, match="nowhere"):
        open_recipe(family, linear("./nowhere"))


def test_tokens_numbered_otherwise(family: Path, tmp_path: Path) -> None:
    folder = write_family(tmp_path, ["base", "one"], n_layers=1)
    path = folder / "one" / "tokenizer.json"
    path.write_text(path.read_text().replace('"id": 406', '"id": 405'))
    with pytest.raises(CheckpointError, match="one numbers its tokens otherwise than base"):
        open_recipe(folder, linear("one", base_model="base", tokenizer_source="base"))
    open_recipe(folder, linear("one")).close()
    open_recipe(family, linear("one", tokenizer_source="one")).close()
