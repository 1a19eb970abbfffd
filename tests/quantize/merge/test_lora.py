"""PEFT adapters added to a base: the values of PEFT's definition for every kind, the bytes of any blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.checkpoint.checkpoint import open_weights
from quantize.merge import chunks
from quantize.merge.lora import LoraSource
from tests.peft import PREFIX, read_tensors, write_merged_checkpoint, write_peft_adapter
from tests.pico import Dtype, write_json, write_pico_checkpoint, write_safetensors
from tests.quantize.merge.models import Array, Tensors, assert_close, assert_equal, in_blocks, weights, whole

F32_ERROR = 1e-6
Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pico_checkpoint(
        tmp_path_factory.mktemp("base") / "pico", dtype="F32", config={"attention_bias": True}
    )


def merged(base: Path, *adapters: tuple[Path, float]) -> Tensors:
    source = LoraSource(open_weights(base), adapters)
    try:
        return whole(source)
    finally:
        source.close()


def spoil(folder: Path, change: Mapping[str, Array | None]) -> None:
    """Put tensors into the adapter's file, or take them out."""
    tensors = read_tensors(folder / "adapter_model.safetensors")
    for name, value in change.items():
        tensors.pop(PREFIX + name, None)
        if value is not None:
            tensors[PREFIX + name] = value
    write_safetensors(folder / "adapter_model.safetensors", tensors)


def edit(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    write_json(folder / "adapter_config.json", config | fields)


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape).astype(np.float32)


VARIANTS: dict[str, dict[str, Any]] = {
    "all linear": {},
    "rank 1": {"modules": ("self_attn.q_proj", "self_attn.k_proj"), "rank": 1},
    "rank-stabilized": {"fields": {"use_rslora": True}},
    "output and embedding": {"modules": (), "others": ("lm_head", "model.embed_tokens")},
    "BF16": {"dtype": "BF16"},
    "patterns, rank-stabilized": {
        "ranks": {Q: 2, "model.layers.1.mlp.up_proj": 16},
        "fields": {"use_rslora": True, "alpha_pattern": {Q: 3, "down_proj": 20}},
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_one_adapter(name: str, base: Path, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", base, **VARIANTS[name])
    expected = weights(write_merged_checkpoint(tmp_path / "merged", base, [(folder, 1.0)]))
    ours = merged(base, (folder, 1.0))
    assert_close(ours, expected, F32_ERROR)
    assert any((ours[tensor] != value).any() for tensor, value in weights(base).items())


def test_several_with_weights(base: Path, tmp_path: Path) -> None:
    one = write_peft_adapter(tmp_path / "one", base, seed=1)
    two = write_peft_adapter(tmp_path / "two", base, seed=2, rank=8, modules=("self_attn.q_proj",))
    adapters = [(one, 0.5), (two, -1.25)]
    expected = weights(write_merged_checkpoint(tmp_path / "merged", base, adapters))
    assert_close(merged(base, *adapters), expected, F32_ERROR)


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_changed_tensors_are_f32_and_others_as_they_are(dtype: Dtype, tmp_path: Path) -> None:
    base = write_pico_checkpoint(tmp_path / "pico", dtype=dtype)
    folder = write_peft_adapter(tmp_path / "adapter", base, modules=("mlp.down_proj",))
    ours, before = merged(base, (folder, 1.0)), weights(base)
    changed = {name for name in before if "down_proj" in name}
    assert {name for name, value in ours.items() if value.dtype == np.float32} == changed
    assert_equal(
        {name: value for name, value in ours.items() if name not in changed},
        {name: value for name, value in before.items() if name not in changed},
    )


def dora(weight: Array, change: Array, magnitude: Array, axis: int) -> Array:
    direction = weight.astype(np.float64) + change
    norm = np.sqrt((direction**2).sum(axis=axis, keepdims=True))
    shape = (-1, 1) if axis == 1 else (1, -1)
    result: Array = direction / norm * magnitude.reshape(shape)
    return result


def change_of(folder: Path, module: str, strength: float) -> Array:
    tensors = read_tensors(folder / "adapter_model.safetensors")
    halves = (tensors[f"{PREFIX}{module}.lora_{half}.weight"].astype(np.float64) for half in "BA")
    b, a = halves
    change: Array = b @ a * strength
    return change


@pytest.mark.parametrize("suffix", ["lora_magnitude_vector", "lora_magnitude_vector.default.weight"])
def test_dora(suffix: str, base: Path, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", base, fields={"use_dora": True}, rank=4, alpha=8)
    magnitude = np.abs(numbers(256)) + 0.5
    spoil(folder, {f"{DOWN}.{suffix}": magnitude})
    ours, before = merged(base, (folder, 1.0)), weights(base)
    expected = dora(before[f"{DOWN}.weight"], change_of(folder, DOWN, 2.0), magnitude, axis=1)
    name = f"{DOWN}.weight"
    assert_close({name: ours[name]}, {name: expected}, F32_ERROR)
    halved = merged(base, (folder, 0.5))
    assert_close({name: halved[name]}, {name: (expected + before[name]) / 2}, F32_ERROR)


def test_dora_of_an_embedding(base: Path, tmp_path: Path) -> None:
    """Its outputs are columns: the norms are taken over all rows."""
    name = "model.embed_tokens"
    folder = write_peft_adapter(tmp_path / "adapter", base, modules=(), others=(name,), rank=4, alpha=8)
    magnitude = np.abs(numbers(256)) + 0.5
    spoil(folder, {f"{name}.lora_magnitude_vector": magnitude})
    tensors = read_tensors(folder / "adapter_model.safetensors")
    a, b = (tensors[f"{PREFIX}{name}.lora_embedding_{half}"].astype(np.float64) for half in "AB")
    expected = dora(weights(base)[f"{name}.weight"], (b @ a).T * 2.0, magnitude, axis=0)
    ours = merged(base, (folder, 1.0))[f"{name}.weight"]
    assert_close({name: ours}, {name: expected}, F32_ERROR)


@pytest.mark.parametrize("shape", [(96, 48), (48, 48)])
@pytest.mark.parametrize("with_magnitude", [False, True])
@pytest.mark.parametrize(
    "fields", [{"fan_in_fan_out": True}, {"fan_in_fan_out": False}, {"use_rslora": True}]
)
@pytest.mark.parametrize(
    ("config", "module", "is_conv1d"),
    [
        ({"model_type": "gpt2"}, "h.0.attn.c_attn", True),
        ({"model_type": "gpt2"}, "h.0.mlp.c_proj", True),
        ({"architectures": ["GPT2LMHeadModel"]}, "h.0.attn.c_proj", True),
        ({"model_type": "openai-gpt"}, "h.0.mlp.c_fc", True),
        ({"model_type": "imagegpt"}, "h.0.attn.q_attn", True),
        ({"model_type": "gpt2"}, "score", False),
        ({"model_type": "gpt_bigcode"}, "h.0.attn.c_attn", False),
        ({"model_type": "starcoder2"}, "layers.0.mlp.c_proj", False),
        ({"model_type": "llama"}, "layers.0.self_attn.o_proj", False),
    ],
)
def test_the_orientation_is_the_layer_classs(
    config: dict[str, Any],
    module: str,
    is_conv1d: bool,
    fields: dict[str, Any],
    with_magnitude: bool,
    shape: tuple[int, int],
    tmp_path: Path,
) -> None:
    """A Conv1D stores [n_in, n_out], a Linear [n_out, n_in], whatever the adapter says."""
    base = tmp_path / "base"
    base.mkdir()
    n_in, n_out = shape
    stored = (n_in, n_out) if is_conv1d else (n_out, n_in)
    weight = numbers(*stored, seed=3)
    write_safetensors(base / "model.safetensors", {f"{module}.weight": weight})
    folder = tmp_path / "adapter"
    folder.mkdir()
    a, b, magnitude = numbers(4, n_in, seed=1), numbers(n_out, 4, seed=2), np.abs(numbers(n_out))
    name = f"{PREFIX}transformer.{module}"
    tensors = {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
    if with_magnitude:
        tensors[f"{name}.lora_magnitude_vector"] = magnitude
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "r": 4, "lora_alpha": 2} | fields)
    change = b.astype(np.float64) @ a * (1.0 if fields.get("use_rslora") else 0.5)
    change = change.T if is_conv1d else change
    axis = 0 if is_conv1d else 1
    expected = dora(weight, change, magnitude, axis=axis) if with_magnitude else weight + change
    source = LoraSource(open_weights(base), [(folder, 1.0)], config)
    try:
        assert_close(whole(source), {f"{module}.weight": expected}, F32_ERROR)
    finally:
        source.close()


def test_whole_tensors(base: Path, tmp_path: Path) -> None:
    """modules_to_save and trained biases: the tensor itself, or part of the way to it."""
    folder = write_peft_adapter(tmp_path / "adapter", base, modules=("mlp.up_proj",), fields={"bias": "all"})
    before = weights(base)
    head, bias = numbers(*before["lm_head.weight"].shape), numbers(256, seed=9)
    spoil(folder, {"lm_head.weight": head, f"{Q}.base_layer.bias": bias})
    edit(folder, modules_to_save=["lm_head"])
    ours = merged(base, (folder, 1.0))
    assert ours["lm_head.weight"].tobytes() == head.tobytes()
    assert ours[f"{Q}.bias"].tobytes() == bias.tobytes()
    quarter = merged(base, (folder, 0.25))["lm_head.weight"]
    expected = 0.75 * before["lm_head.weight"] + 0.25 * head
    assert_close({"": quarter}, {"": expected}, F32_ERROR)


def test_an_embedding_that_is_saved_and_adapted(base: Path, tmp_path: Path) -> None:
    """PEFT saves the base's embedding with its matrices, which are added to it."""
    name = "model.embed_tokens"
    folder = write_peft_adapter(tmp_path / "adapter", base, modules=(), others=(name,), rank=4, alpha=8)
    saved = numbers(*weights(base)[f"{name}.weight"].shape)
    spoil(folder, {f"{name}.base_layer.weight": saved})
    tensors = read_tensors(folder / "adapter_model.safetensors")
    a, b = (tensors[f"{PREFIX}{name}.lora_embedding_{half}"].astype(np.float64) for half in "AB")
    ours = merged(base, (folder, 1.0))[f"{name}.weight"]
    assert_close({"": ours}, {"": saved + (b @ a).T * 2.0}, F32_ERROR)


def test_biases_of_the_adapter(base: Path, tmp_path: Path) -> None:
    folder = write_peft_adapter(
        tmp_path / "adapter", base, modules=("self_attn.q_proj",), rank=4, alpha=8, fields={"lora_bias": True}
    )
    added = numbers(256, seed=4)
    spoil(folder, {f"{Q}.lora_B.bias": added})
    before = weights(base)
    ours = merged(base, (folder, 0.5))
    assert_close({"": ours[f"{Q}.bias"]}, {"": before[f"{Q}.bias"] + 0.5 * 2.0 * added}, F32_ERROR)
    assert (ours[f"{Q}.weight"] != before[f"{Q}.weight"]).any()


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_any_blocks_give_the_same_bytes(
    rows: int, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", 10_000)
    others = ("lm_head", "model.embed_tokens")
    one = write_peft_adapter(tmp_path / "one", base, rank=37, others=others)
    spoil(one, {f"{DOWN}.lora_magnitude_vector": np.abs(numbers(256))})
    spoil(one, {"model.embed_tokens.lora_magnitude_vector": np.abs(numbers(256))})
    two = write_peft_adapter(tmp_path / "two", base, seed=2, rank=3)
    adapters = [(one, 0.75), (two, 0.5)]
    source = LoraSource(open_weights(base), adapters)
    try:
        assert_equal(in_blocks(source, rows), merged(base, *adapters))
    finally:
        source.close()


def test_names_without_the_outermost_module(base: Path, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", base)
    expected = merged(base, (folder, 1.0))
    tensors = read_tensors(folder / "adapter_model.safetensors")
    renamed = {
        name.replace(".weight", ".default.weight").replace(
            f"{PREFIX}model.", f"{PREFIX}language_model.model."
        ): value
        for name, value in tensors.items()
    }
    write_safetensors(folder / "adapter_model.safetensors", renamed)
    assert_equal(merged(base, (folder, 1.0)), expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"model.layers.9.mlp.up_proj.lora_A.weight": numbers(4, 256)},
            r"layers\.9\.mlp\.up_proj\.weight, which",
        ),
        ({f"{Q}.lora_B.weight": None}, "only lora_A"),
        ({f"{Q}.lora_A.weight": numbers(4, 128)}, r"\[4, 128\]"),
        ({f"{Q}.lora_B.weight": numbers(256, 8)}, r"\[256, 8\]"),
        ({f"{Q}.lora_A.weight": np.zeros((4, 256), np.int64)}, "int64"),
        ({f"{Q}.lora_A.other.weight": numbers(4, 256)}, "two lora_A"),
        ({f"{Q}.lora_magnitude_vector": numbers(255)}, r"\[255\]"),
        ({"lm_head.weight": numbers(500, 256)}, r"vocabulary.* 500 for lm_head\.weight; save it with both"),
        ({"lm_head.weight": numbers(512, 128)}, r"\[512, 128\].*vocabulary"),
        ({"model.embed_tokens.token_adapter.trainable_tokens_delta": numbers(2, 256)}, "of a kind"),
        ({"model.layers.0.mlp.up_proj.lora_B.bias": numbers(512)}, r"up_proj\.bias, which"),
    ],
)
def test_what_does_not_fit_is_named(
    change: dict[str, Array | None], said: str, base: Path, tmp_path: Path
) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", base)
    spoil(folder, change)
    with pytest.raises(CheckpointError, match=said):
        LoraSource(open_weights(base), [(folder, 1.0)])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"bias": "some"}, "bias 'some'"),
        ({"lora_alpha": "much"}, "lora_alpha"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    fields: dict[str, Any], said: str, base: Path, tmp_path: Path
) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", base, fields=fields)
    with pytest.raises(CheckpointError, match=said):
        LoraSource(open_weights(base), [(folder, 1.0)])


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(missing: str, base: Path, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", base)
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=missing):
        LoraSource(open_weights(base), [(folder, 1.0)])
