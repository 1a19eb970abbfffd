"""Adapters of tied models: which half of embedding and output matrix each kind of tensor changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from models.gguf.reader import GGUFArray, read_gguf_file
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.checkpoint.checkpoint import open_weights
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.merge.lora import LoraSource
from quantize.merge.output_matrix import equally_tied, output_matrix_of
from quantize.run.options import RunOptions
from tests.peft import PREFIX
from tests.pico import write_json, write_pico_checkpoint, write_safetensors
from tests.quantize.merge.models import Array, Tensors, weights, whole

E, H = "model.embed_tokens", "lm_head"
RANK = 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "pico"
    return write_pico_checkpoint(folder, dtype="F32", tie=True, n_layers=1)


@pytest.fixture(scope="module")
def embedding(base: Path) -> Array:
    return weights(base)[f"{E}.weight"]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape).astype(np.float32)


def adapter(folder: Path, tensors: Mapping[str, Array], **fields: Any) -> Path:
    folder.mkdir(parents=True)
    write_safetensors(
        folder / "adapter_model.safetensors", {PREFIX + name: value for name, value in tensors.items()}
    )
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj"]}
    write_json(folder / "adapter_config.json", config | fields)
    return folder


def pair(module: str, rows: int, columns: int) -> tuple[dict[str, Array], Array]:
    """Return a low-rank pair of a matrix [rows, columns] and the change that it is."""
    a, b = numbers(RANK, columns, seed=1) / 16, numbers(rows, RANK, seed=2)
    if module == E:
        return {f"{E}.lora_embedding_A": b.T.copy(), f"{E}.lora_embedding_B": a.T.copy()}, b @ a
    return {f"{H}.lora_A.weight": a, f"{H}.lora_B.weight": b}, b @ a


def merged(base: Path, *adapters: tuple[Path, float]) -> tuple[Tensors, dict[str, Any]]:
    config = json.loads((base / "config.json").read_text())
    source = LoraSource(open_weights(base), adapters, config)
    try:
        return whole(source), source.config
    finally:
        source.close()


def check(base: Path, folder: Path, embedding: Array, head: Array | None, weight: float = 1.0) -> None:
    """Check both halves of the result; a tied one has no output matrix."""
    tensors, config = merged(base, (folder, weight))
    np.testing.assert_allclose(tensors[f"{E}.weight"], embedding, atol=1e-5)
    assert config["tie_word_embeddings"] is (head is None)
    if head is None:
        assert f"{H}.weight" not in tensors
    else:
        np.testing.assert_allclose(tensors[f"{H}.weight"], head, atol=1e-5)


def test_saved_embeddings_of_a_tied_model_stay_tied(base: Path, embedding: Array, tmp_path: Path) -> None:
    """PEFT saves the one parameter under both names, or what is left of them."""
    new = embedding + 0.25
    for number, names in enumerate([(E, H), (E,), (H,)]):
        folder = adapter(tmp_path / str(number), {f"{name}.weight": new for name in names})
        check(base, folder, new, None)
        check(base, folder, embedding + 0.125, None, weight=0.5)


def test_halves_that_differ_are_each_its_own(base: Path, embedding: Array, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", {f"{E}.weight": embedding + 1, f"{H}.weight": embedding - 1})
    check(base, folder, embedding + 1, embedding - 1)


@pytest.mark.parametrize(
    "name", ["{}.weight", "{}.modules_to_save.weight", "{}.modules_to_save.default.weight"]
)
@pytest.mark.parametrize("saved", [[H], [E], ["embed_tokens"], [E, H]])
def test_a_module_to_save_is_a_copy_of_its_own(
    name: str, saved: list[str], base: Path, embedding: Array, tmp_path: Path
) -> None:
    halves = {E: embedding, H: embedding}
    tensors = {}
    for number, module in enumerate(half for half in halves if any(half.endswith(end) for end in saved)):
        halves[module] = embedding + 1 + number
        tensors[name.format(module)] = halves[module]
        if "default" in name:
            tensors[f"{module}.original_module.weight"] = embedding
    folder = adapter(tmp_path / "a", tensors, modules_to_save=saved)
    check(base, folder, halves[E], halves[H])


def test_weights_that_stay_tied_by_request(base: Path, embedding: Array, tmp_path: Path) -> None:
    fields = {"ensure_weight_tying": True, "modules_to_save": [E]}
    check(base, adapter(tmp_path / "a", {f"{E}.weight": embedding + 1}, **fields), embedding + 1, None)
    halves, change = pair(E, *embedding.shape)
    halves |= {
        f"{H}.lora_A.weight": halves[f"{E}.lora_embedding_B"].T.copy(),
        f"{H}.lora_B.weight": halves[f"{E}.lora_embedding_A"].T.copy(),
    }
    check(base, adapter(tmp_path / "b", halves, ensure_weight_tying=True), embedding + change, None)


@pytest.mark.parametrize("fields", [{}, {"fan_in_fan_out": True}])
def test_what_is_added_to_one_half_unties(
    fields: dict[str, Any], base: Path, embedding: Array, tmp_path: Path
) -> None:
    """As the model computes that PEFT runs: the base's matrix is the other half."""
    of_head, change = pair(H, *embedding.shape)
    check(base, adapter(tmp_path / "a", of_head, **fields), embedding, embedding + change)
    of_embedding, change = pair(E, *embedding.shape)
    check(base, adapter(tmp_path / "b", of_embedding, **fields), embedding + change, embedding)
    saved = {f"{E}.base_layer.weight": embedding + 1}
    folder = adapter(tmp_path / "c", of_embedding | saved, **fields)
    check(base, folder, embedding + 1 + change, embedding + 1)


def test_several_adapters(base: Path, embedding: Array, tmp_path: Path) -> None:
    of_head, change = pair(H, *embedding.shape)
    one = adapter(tmp_path / "one", of_head)
    two = adapter(tmp_path / "two", {f"{E}.weight": embedding + 1, f"{H}.weight": embedding + 1})
    tensors, config = merged(base, (one, 0.5), (two, 2.0))
    np.testing.assert_allclose(tensors[f"{E}.weight"], embedding + 2, atol=1e-5)
    np.testing.assert_allclose(tensors[f"{H}.weight"], embedding + 2 + change / 2, atol=1e-5)
    assert config["tie_word_embeddings"] is False


@pytest.mark.parametrize("stored", [(H,), (E, H)])
def test_a_base_that_stores_its_matrix_otherwise(
    stored: tuple[str, ...], base: Path, embedding: Array, tmp_path: Path
) -> None:
    tensors = {name: value for name, value in weights(base).items() if name != f"{E}.weight"}
    other = tmp_path / "base"
    other.mkdir()
    write_safetensors(other / "model.safetensors", tensors | {f"{name}.weight": embedding for name in stored})
    write_json(other / "config.json", json.loads((base / "config.json").read_text()))
    saved = adapter(tmp_path / "a", {f"{E}.weight": embedding + 1, f"{H}.weight": embedding + 1})
    ours, config = merged(other, (saved, 1.0))
    assert {name for name in ours if name.startswith((E, H))} == {f"{name}.weight" for name in stored}
    assert all((ours[f"{name}.weight"] == embedding + 1).all() for name in stored)
    assert config["tie_word_embeddings"] is True
    of_head, change = pair(H, *embedding.shape)
    check(other, adapter(tmp_path / "b", of_head), embedding, embedding + change)


def test_halves_that_are_stored_and_differ_are_not_tied(base: Path, embedding: Array, tmp_path: Path) -> None:
    """As in transformers, whatever the configuration says."""
    write_safetensors(tmp_path / "model.safetensors", weights(base) | {f"{H}.weight": embedding + 3})
    write_json(tmp_path / "config.json", json.loads((base / "config.json").read_text()))
    of_head, change = pair(H, *embedding.shape)
    check(tmp_path, adapter(tmp_path / "a", of_head), embedding, embedding + 3 + change)


@pytest.mark.parametrize("more", [-8, 2])
def test_another_vocabulary(more: int, base: Path, embedding: Array, tmp_path: Path) -> None:
    rows = len(embedding) + more
    new = numbers(rows, embedding.shape[1])
    both = {f"{E}.weight": new, f"{H}.weight": new}
    tensors, config = merged(base, (adapter(tmp_path / "a", both), 1.0))
    assert config["vocab_size"] == rows
    assert config["tie_word_embeddings"] is True
    np.testing.assert_array_equal(tensors[f"{E}.weight"], new)
    with pytest.raises(CheckpointError, match="with the weight 1"):
        merged(base, (tmp_path / "a", 0.5))
    own = adapter(tmp_path / "b", {f"{H}.weight": new}, modules_to_save=[H])
    with pytest.raises(CheckpointError, match=f"{rows} for lm_head.weight"):
        merged(base, (own, 1.0))


def test_the_names_of_other_families(tmp_path: Path) -> None:
    names = {
        "GPT2LMHeadModel": ("wte.weight", "lm_head.weight"),
        "GPTNeoXForCausalLM": ("gpt_neox.embed_in.weight", "embed_out.weight"),
        "BloomForCausalLM": ("transformer.word_embeddings.weight", "lm_head.weight"),
        "SomebodysForCausalLM": ("model.tok_embeddings.weight", "lm_head.weight"),
    }
    for family, (embedding, head) in names.items():
        write_safetensors(tmp_path / "model.safetensors", {embedding: numbers(8, 8)})
        source = open_weights(tmp_path)
        sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 8}
        config = {"architectures": [family], "intermediate_size": 32, "tie_word_embeddings": True, **sizes}
        output = output_matrix_of(config, source)
        source.close()
        assert output is not None, family
        assert (output.embedding, output.head, output.tied) == (embedding, head, True)


def test_a_file_with_an_adapters_vocabulary(base: Path, embedding: Array, tmp_path: Path) -> None:
    """The tokens that were added come from the adapter's tokenizer; the embedding is the adapter's."""
    new = numbers(len(embedding) + 1, embedding.shape[1])
    folder = adapter(tmp_path / "talk", {f"{E}.weight": new, f"{H}.weight": new})
    for path in base.glob("*token*"):
        (folder / path.name).write_bytes(path.read_bytes())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    token = {
        "id": len(embedding),
        "content": "<|turn|>",
        "special": True,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
    }
    tokenizer["added_tokens"].append(token)
    write_json(folder / "tokenizer.json", tokenizer)
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))
    options = QuantizeOptions(adapters=((str(folder), 1.0),), run=RunOptions(threads=1))
    outcome = quantize_reference(ModelRef.parse(str(base)), ["F32"], store=store, options=options)
    file = read_gguf_file(outcome.files[0].path)
    tokens = file.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, GGUFArray)
    assert list(tokens.strings())[len(embedding)] == b"<|turn|>"
    shapes = {tensor.name: tensor.shape for tensor in file.tensors}
    assert shapes["token_embd.weight"] == (256, len(embedding) + 1)
    assert "output.weight" not in shapes


@pytest.mark.parametrize(
    ("old", "new"), [("model.", ""), ("", "language_model."), ("model.", "model.language_model.")]
)
def test_models_of_a_merge_may_name_their_tensors_otherwise(
    old: str, new: str, base: Path, tmp_path: Path
) -> None:
    tensors, config = weights(base), json.loads((base / "config.json").read_text(encoding="utf-8"))
    other = {new + name.removeprefix(old): value + np.float32(1) for name, value in tensors.items()}
    write_safetensors(tmp_path / "model.safetensors", other)
    sources, fields = equally_tied(
        {"first": (config, open_weights(base)), "other": (config, open_weights(tmp_path))}
    )
    assert fields == {"tie_word_embeddings": True}
    assert whole(sources["first"]).keys() == tensors.keys()
    found = whole(sources["other"])
    assert found.keys() == tensors.keys()
    assert all((found[name] == value + np.float32(1)).all() for name, value in tensors.items())
    for source in sources.values():
        source.close()


def test_names_that_all_models_of_a_merge_have_stay(base: Path, tmp_path: Path) -> None:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    bare = {name.removeprefix("model."): value for name, value in weights(base).items()}
    write_safetensors(tmp_path / "model.safetensors", bare)
    sources, _ = equally_tied({text: (config, open_weights(tmp_path)) for text in ("one", "two")})
    assert sources["one"].entries.keys() == bare.keys()
    for source in sources.values():
        source.close()
