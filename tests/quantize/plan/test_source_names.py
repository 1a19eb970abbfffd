"""Tensors under the names that checkpoints have for them: with and without prefixes, tied halves, experts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from models.errors import CheckpointError
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.source import TensorEntry
from quantize.plan.source_names import match_names
from tests.pico import write_json, write_safetensors
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, tensor_values, write_checkpoint
from tests.quantize.families.family import Family
from tests.quantize.quantize_folder import run_plan
from tests.quantize.summary import summary

Shapes = dict[str, tuple[int, ...]]
Arrays = dict[str, npt.NDArray[Any]]

families = pytest.mark.parametrize("family", ALL_FAMILIES, ids=str)
EXPERTS = {
    **dict.fromkeys(
        ("mixtral", "phi-moe", "kimi-linear", "minimax-text"),
        ("block_sparse_moe.experts", {"gate": "w1", "up": "w3", "down": "w2"}),
    ),
    **dict.fromkeys(
        (
            "qwen2-moe",
            "qwen3-moe",
            "qwen3-next",
            "qwen3.5-moe-vision",
            "deepseek",
            "deepseek2",
            "deepseek3",
            "bailing-moe3",
        ),
        ("mlp.experts", {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}),
    ),
}
"""The mixtures whose experts are saved one by one: their module, and the names of an expert's matrices."""

NEWER_NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    **dict.fromkeys(("mixtral", "kimi-linear", "minimax-text"), ((".block_sparse_moe.", ".mlp."),)),
    "phi-moe": ((".block_sparse_moe.gate.", ".mlp.router."), (".block_sparse_moe.", ".mlp.")),
    "granite-moe": (
        (".input_linear.weight", ".experts.gate_up_proj"),
        (".output_linear.weight", ".experts.down_proj"),
        (".router.layer.weight", ".router.weight"),
    ),
}
NEWER_NAMES["granite-moe-shared"] = (
    (".block_sparse_moe.input_linear.weight", ".block_sparse_moe.experts.gate_up_proj"),
    (".block_sparse_moe.output_linear.weight", ".block_sparse_moe.experts.down_proj"),
    (".router.layer.weight", ".router.weight"),
)
"""The names that transformers 5 has in its modules, where published checkpoints have others."""


def read(family: Family) -> tuple[Architecture, Shapes]:
    architecture, shapes = _read(family.name)
    return architecture, dict(shapes)


@cache
def _read(name: str) -> tuple[Architecture, Shapes]:
    golden = read_golden(next(family for family in ALL_FAMILIES if family.name == name))
    shapes = {name: tuple(shape) for name, (_, shape) in golden["tensors"].items()}
    return architecture_of(golden["config"]), shapes


def sources(architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, ...]]:
    """Return which tensors of the checkpoint make each output."""
    entries = {name: TensorEntry(name, shape, np.dtype(np.float32)) for name, shape in shapes.items()}
    found = match_names(entries, architecture)
    return {rule.name: tuple(found.entries[name].name for name in rule.sources) for rule in found.rules}


def assert_renamed_alike(family: Family, rename: Callable[[str], str]) -> None:
    """Check that each output is made of the same tensors after they were all renamed."""
    architecture, shapes = read(family)
    expected = {output: tuple(map(rename, names)) for output, names in sources(architecture, shapes).items()}
    assert sources(architecture, {rename(name): shape for name, shape in shapes.items()}) == expected


@families
def test_names_may_lack_the_bases_prefix(family: Family) -> None:
    prefix = read(family)[0].base_prefix
    assert_renamed_alike(family, lambda name: name.removeprefix(prefix))


@families
def test_names_may_have_the_bases_prefix_in_addition(family: Family) -> None:
    architecture = read(family)[0]
    assert_renamed_alike(
        family,
        lambda name: name if name.startswith(architecture.base_prefix) else architecture.base_prefix + name,
    )


def is_part(family: Family) -> bool:
    """Return True for a decoder that others may have in them; its own prefix is the usual one then."""
    architecture = read(family)[0]
    is_whole = family.architecture.endswith("ForConditionalGeneration")
    return isinstance(architecture, Decoder) and not is_whole and architecture.base_prefix == "model."


@pytest.mark.parametrize("family", [family for family in ALL_FAMILIES if is_part(family)], ids=str)
@pytest.mark.parametrize("nesting", ["language_model.", "model.language_model."])
def test_a_decoders_names_may_be_those_of_a_part(family: Family, nesting: str) -> None:
    def rename(name: str) -> str:
        """Return the name that a model has for its text model's tensor, as it was saved before or now."""
        return nesting + (name.removeprefix("model.") if nesting.startswith("model.") else name)

    assert_renamed_alike(family, rename)


@pytest.mark.parametrize("family", [f for f in ALL_FAMILIES if f.kind == "encoder"], ids=str)
def test_norms_may_have_tensorflows_names(family: Family) -> None:
    def rename(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    assert_renamed_alike(family, rename)


TIED = [f for f in ALL_FAMILIES if len(read(f)[0].tied_names) > 1 and f.tokenizer != "wordpiece"]


@pytest.mark.parametrize("family", TIED, ids=str)
@pytest.mark.parametrize("prefixed", [True, False])
def test_either_half_of_a_tied_pair_is_enough(family: Family, prefixed: bool) -> None:
    architecture, shapes = read(family)
    embedding, head, *_ = architecture.tied_names
    if head in shapes:
        del shapes[head]  # T5 with a matrix of its own
    rename = {embedding: head if prefixed else head.removeprefix(architecture.base_prefix)}
    expected = sources(architecture, shapes)
    assert expected["token_embd.weight"] != (head,)
    moved = {rename.get(name, name): shape for name, shape in shapes.items()}
    if family.name == "gemma3-vision":
        moved = {rename.get(architecture.usual_name(name), name): shape for name, shape in shapes.items()}
        embedding = expected["token_embd.weight"][0]
        rename = {embedding: head}
    assert sources(architecture, moved) == {
        output: tuple(rename.get(name, name) for name in names) for output, names in expected.items()
    }


def test_the_families_that_tie() -> None:
    names = {family.name for family in TIED}
    assert {"llama-3", "gemma", "gemma3-vision", "command-r", "starcoder2", "gpt2", "bloom", "t5"} <= names
    assert "mistral" not in names


def test_a_masked_language_models_embedding_may_be_its_heads() -> None:
    (family,) = [family for family in ALL_FAMILIES if family.name == "bert-masked"]
    architecture, shapes = read(family)
    (embedding,) = sources(architecture, shapes)["token_embd.weight"]
    head = "cls.predictions.decoder.weight"
    shapes[head] = shapes.pop(embedding)
    assert sources(architecture, shapes)["token_embd.weight"] == (head,)


@pytest.mark.parametrize(
    "family", [f for f in ALL_FAMILIES if f.name in EXPERTS or f.name in NEWER_NAMES], ids=str
)
def test_fused_experts_make_the_same_file(family: Family, tmp_path: Path) -> None:
    golden = read_golden(family)
    apart = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    (expected,) = run_plan(apart, ["F32"], tmp_path)
    tensors = {
        name: tensor_values(name, tuple(shape), dtype, family.embedding_scale)
        for name, (dtype, shape) in golden["tensors"].items()
    }
    write_safetensors(apart / "model.safetensors", renamed(family, fused(family, tensors)))
    (tmp_path / "together").mkdir()
    (found,) = run_plan(apart, ["F32"], tmp_path / "together")
    assert summary(found.path) == summary(expected.path)


def test_fused_experts_may_be_float8(tmp_path: Path) -> None:
    (family,) = [family for family in ALL_FAMILIES if family.name == "qwen3-moe"]
    golden = read_golden(family)
    apart = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    tensors = fused(
        family,
        {name: tensor_values(name, tuple(shape), "F32") for name, (_, shape) in golden["tensors"].items()},
    )
    whole = dict(tensors)
    for name in [name for name in tensors if ".experts." in name]:
        eighths = tensors[name].astype(ml_dtypes.float8_e4m3fn)
        scales = np.full((len(eighths), *(size // 128 for size in eighths.shape[1:])), 0.5, np.float32)
        scales[1:] = 2.0
        tensors |= {name: eighths, f"{name}_scale_inv": scales}
        whole[name] = eighths.astype(np.float32) * scales[:, :1, :1]
    (tmp_path / "float8").mkdir()
    write_safetensors(apart / "model.safetensors", whole)
    (expected,) = run_plan(apart, ["F32"], tmp_path)
    write_safetensors(apart / "model.safetensors", tensors)
    settings = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    write_json(apart / "config.json", golden["config"] | {"quantization_config": settings})
    (found,) = run_plan(apart, ["F32"], tmp_path / "float8")
    assert summary(found.path)["tensors"] == summary(expected.path)["tensors"]


def fused(family: Family, tensors: Arrays) -> Arrays:
    """Return the tensors with those of experts put together as transformers 5 computes with them."""
    if family.name not in EXPERTS:
        return tensors
    module, names = EXPERTS[family.name]
    part = re.compile(rf"(.*\.{re.escape(module)})\.(\d+)\.(\w+)\.weight")
    kept, experts = dict[str, Any](), dict[str, dict[str, dict[int, Any]]]()
    for name, value in tensors.items():
        match = part.fullmatch(name)
        if match is None:
            kept[name] = value
        else:
            experts.setdefault(match[1], {}).setdefault(match[3], {})[int(match[2])] = value
    assert experts
    for layer, matrices in experts.items():
        gate, up, down = (
            np.stack([matrices[names[role]][i] for i in range(len(matrices[names[role]]))])
            for role in ("gate", "up", "down")
        )
        kept[f"{layer}.gate_up_proj"] = np.concatenate([gate, up], axis=1)
        kept[f"{layer}.down_proj"] = down
    return kept


def renamed(family: Family, tensors: Arrays) -> Arrays:
    def rename(name: str) -> str:
        for old, new in NEWER_NAMES.get(family.name, ()):
            name = name.replace(old, new)
        return name

    changed = {rename(name): value for name, value in tensors.items()}
    assert (changed.keys() != tensors.keys()) == (family.name in NEWER_NAMES)
    return changed


LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 10,
}


def llama(**changes: Any) -> tuple[Architecture, Shapes]:
    architecture = architecture_of(LLAMA | changes)
    rules = [rule for rule in architecture.tensor_rules() if not rule.optional]
    shapes = [zip(rule.sources, rule.transform.source_shapes(rule.shape), strict=True) for rule in rules]
    return architecture, {name: shape for pairs in shapes for name, shape in pairs}


def test_a_trained_output_matrix_is_kept_beside_the_embedding() -> None:
    architecture, shapes = llama(tie_word_embeddings=True)
    assert "output.weight" not in sources(architecture, shapes)
    both = {**shapes, "lm_head.weight": (10, 8)}
    assert sources(architecture, both)["output.weight"] == ("lm_head.weight",)


def test_an_untied_half_is_refused_with_the_field_that_says_so() -> None:
    architecture, shapes = llama()
    for missing, fact in (
        ("lm_head.weight", "tie_word_embeddings"),
        ("model.embed_tokens.weight", "lacks model.emb"),
    ):
        rest = {name: shape for name, shape in shapes.items() if name != missing}
        with pytest.raises(CheckpointError, match=fact) as error:
            sources(architecture, rest)
        assert missing in error.value.message
        assert "config.json" in error.value.message


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "base_model.model."])
def test_a_wrappers_state_is_refused_by_its_prefix(wrapper: str) -> None:
    architecture, shapes = llama()
    with pytest.raises(CheckpointError, match=rf"{re.escape(wrapper)}' in front") as error:
        sources(architecture, {f"{wrapper}{name}": shape for name, shape in shapes.items()})
    assert "embed_tokens" in error.value.message


def test_experts_in_both_forms_are_refused() -> None:
    (family,) = [family for family in ALL_FAMILIES if family.name == "qwen3-moe"]
    architecture, shapes = read(family)
    shapes["model.layers.0.mlp.experts.gate_up_proj"] = (4, 512, 256)
    with pytest.raises(CheckpointError, match="has no place"):
        sources(architecture, shapes)
