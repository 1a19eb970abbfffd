"""Projectors' headers and tensors: those that a converter makes pass, and each wrong value is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.gguf.hyperparameters import Metadata
from models.gguf.info import read_gguf_info, require_projector
from models.gguf.projector_rules import projector_faults
from models.gguf.projector_tensors import CLASS_EMBEDDING, KINDS
from models.gguf.reader import GGUFArray, GGUFTensor
from tests.quantize.families.checkpoint import unpack
from tests.quantize.projectors.checkpoints import SIGHTS, golden
from tests.vision_models import write_projector

TYPES = {"UINT32": "u32", "FLOAT32": "f32", "BOOL": "bool", "STRING": "str", "ARRAY": "array"}
END_OF_ROW = "v.token_embd.img_break"
NAMES = tuple(sight.name for sight in SIGHTS)


def made(name: str) -> tuple[Metadata, dict[str, GGUFTensor]]:
    """Return what the reader gives of the converter's F16 file."""
    found = unpack(golden(next(sight for sight in SIGHTS if sight.name == name)), "F16")
    metadata: Metadata = {}
    for key, (kinds, value) in found["metadata"].items():
        if kinds[0] != "ARRAY":
            metadata[key] = value
        elif kinds[1] == "FLOAT32":
            metadata[key] = GGUFArray("f32", len(value), np.array(value, np.float32).tobytes())
    tensors = {
        name: GGUFTensor(name, tuple(shape), kind, offset=0, nbytes=0)
        for name, (kind, shape, _) in found["tensors"].items()
    }
    if metadata.get("clip.projector_type") == "pixtral":
        # The converter loses it, and llama.cpp refuses its file.
        tensors[END_OF_ROW] = GGUFTensor(END_OF_ROW, (256,), "F32", offset=0, nbytes=0)
    return metadata, tensors


def types_of(name: str) -> dict[str, str]:
    """Return the types of the keys of the converter's F16 file."""
    found = unpack(golden(next(sight for sight in SIGHTS if sight.name == name)), "F16")
    return {key: TYPES[kinds[0]] for key, (kinds, _) in found["metadata"].items()}


def faults(metadata: Metadata, tensors: dict[str, GGUFTensor]) -> list[str]:
    return [*projector_faults(metadata, {}, [*tensors.values()])]


@pytest.mark.parametrize("name", NAMES)
def test_a_converters_file_has_no_faults(name: str) -> None:
    assert faults(*made(name)) == []


def test_every_kind_is_among_them() -> None:
    kinds = {made(name)[0].get("clip.projector_type", "gemma4v") for name in NAMES}
    assert kinds | {"mlp"} == set(KINDS)  # the converter makes none of LLaVA's: others' tools did


def test_llavas_files_pass_with_and_without_a_class_embedding(tmp_path: Path) -> None:
    info = read_gguf_info(write_projector(tmp_path / "eyes.gguf", "llava"))
    require_projector(info)
    tensors = {tensor.name: tensor for tensor in info.tensors}
    table = tensors["v.position_embd.weight"]
    more = dataclasses.replace(table, shape=(table.shape[0], table.shape[1] + 1), type="F16")
    extra = GGUFTensor(CLASS_EMBEDDING, (table.shape[0],), "F32", offset=0, nbytes=0)
    assert faults(info.metadata, {**tensors, table.name: more, extra.name: extra}) == []
    assert "has the shape" in faults(info.metadata, {**tensors, extra.name: extra})[0]
    assert "has the shape" in faults(info.metadata, {**tensors, table.name: more})[0]
    listed = {**info.metadata, "clip.vision.feature_layer": GGUFArray("i32", 1, b"\x09\x00\x00\x00")}
    assert "feature_layer" in faults(listed, tensors)[0]


WRONG: list[tuple[str, str, Any, str]] = [
    ("gemma3", "general.architecture", "llama", "isn't clip"),
    ("gemma3", "clip.projector_type", "ldp", "of the kind ldp; those that can be used"),
    ("gemma3", "clip.projector_type", None, "of no kind"),
    ("gemma3", "clip.projector_type", 7, "of no kind"),
    ("gemma3", "clip.has_vision_encoder", False, "doesn't see"),
    ("gemma4", "clip.has_audio_encoder", True, "also hears"),
    *[
        ("gemma3", f"clip.vision.{key}", value, key)
        for key in ("embedding_length", "block_count", "attention.head_count", "projection_dim")
        for value in (None, 0, -1, 2**31, "8", 1.5)
    ],
    ("gemma3", "clip.vision.image_size", 0, "image_size"),
    ("gemma3", "clip.vision.image_size", 8193, "image_size"),
    ("gemma3", "clip.vision.patch_size", 0, "patch_size"),
    ("gemma3", "clip.vision.patch_size", 128, "patch_size"),
    ("gemma3", "clip.vision.patch_size", 16, "shape"),
    ("gemma3", "clip.vision.feed_forward_length", -1, "feed_forward_length"),
    ("gemma3", "clip.vision.attention.head_count", 3, "3 heads"),
    ("gemma3", "clip.vision.attention.head_count", 16, "16 heads"),
    ("gemma3", "clip.vision.attention.head_count_kv", 1, "head_count_kv"),
    ("gemma3", "clip.vision.attention.head_dim", 4, "head_dim"),
    ("gemma3", "clip.vision.attention.layer_norm_epsilon", float("nan"), "epsilon"),
    ("gemma3", "clip.vision.attention.layer_norm_epsilon", None, "epsilon"),
    ("gemma3", "clip.vision.image_mean", None, "image_mean"),
    ("gemma3", "clip.vision.image_std", GGUFArray("f32", 3, bytes(12)), "divided"),
    ("gemma3", "clip.vision.image_std", GGUFArray("f32", 2, bytes(8)), "image_std"),
    ("gemma3", "clip.vision.image_std", GGUFArray("str", 0, b""), "image_std"),
    ("gemma3", "clip.vision.feature_layer", GGUFArray("i32", 1, bytes(4)), "feature_layer"),
    ("gemma3", "clip.use_silu", True, "both true"),
    ("gemma3", "clip.use_gelu", "yes", "no booleans"),
    ("gemma3", "clip.vision.projector.scale_factor", 0, "scale_factor"),
    ("gemma3", "clip.vision.projector.scale_factor", 9, "side of 9"),
    ("gemma3", "clip.vision.block_count", 3, "v.blk.2.*missing"),
    ("gemma3", "clip.vision.block_count", 1, "v.blk.1.*no tensor of its kind"),
    ("gemma3", "clip.vision.projection_dim", 128, "by its header"),
    ("smolvlm", "clip.vision.projector.scale_factor", 1, "side of 1"),
    ("smolvlm", "clip.vision.projector.scale_factor", 4, "by its header"),
    ("smolvlm", "clip.vision.preproc_image_size", None, "preproc_image_size"),
    ("smolvlm", "clip.vision.preproc_image_size", 0, "preproc_image_size"),
    ("qwen2.5vl", "clip.vision.n_wa_pattern", 0, "n_wa_pattern"),
    ("qwen2.5vl", "clip.vision.n_wa_pattern", None, "n_wa_pattern"),
    ("qwen2.5vl", "clip.vision.n_wa_pattern", 1, "n_wa_pattern is 1 (2 to"),
    ("qwen3vl", "clip.vision.spatial_merge_size", 3, "spatial_merge_size"),
    ("mistral3", "clip.vision.spatial_merge_size", 3, "by its header"),
    ("mistral3", "clip.vision.spatial_merge_size", None, "mm.patch_merger.weight"),
    ("pixtral", "clip.vision.spatial_merge_size", 2, "missing"),
]


@pytest.mark.parametrize(("name", "key", "value", "words"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_a_fault(name: str, key: str, value: Any, words: str) -> None:
    metadata, tensors = made(name)
    metadata = {k: v for k, v in metadata.items() if k != key} | ({} if value is None else {key: value})
    found = faults(metadata, tensors)
    assert any(all(word in fault for word in words.split(".*")) for fault in found), found


@pytest.mark.parametrize("name", NAMES)
def test_a_key_of_another_type_would_end_the_process(name: str) -> None:
    metadata, tensors = made(name)
    right = types_of(name)
    assert [*projector_faults(metadata, right, [*tensors.values()])] == []
    for key, type_ in right.items():
        if (key.startswith("clip.") and type_ != "array") or key == "general.name":
            [fault] = projector_faults(metadata, {**right, key: "u64"}, [*tensors.values()])
            assert fault == f"{key} has the type u64 ({type_})"


@pytest.mark.parametrize("name", NAMES)
def test_each_tensor_has_its_shape_and_type(name: str) -> None:
    metadata, tensors = made(name)
    optional = ("v.post_ln.", "v.pre_ln.", "v.std_", ".bias", "_min", "_max")
    for tensor in tensors.values():
        other = dataclasses.replace(tensor, shape=(*tensor.shape[:-1], tensor.shape[-1] + 32))
        found = faults(metadata, {**tensors, tensor.name: other})
        # The first of these tells the width inside: with another one all the others are wrong.
        assert found if "v.blk.0.ffn_up" in tensor.name else any(tensor.name in fault for fault in found), (
            tensor
        )
        other = dataclasses.replace(tensor, type="I32")
        assert any(tensor.name in fault for fault in faults(metadata, {**tensors, tensor.name: other})), (
            tensor
        )
        fewer = {key: value for key, value in tensors.items() if key != tensor.name}
        is_needed = not any(part in tensor.name for part in optional)
        assert faults(metadata, fewer) or not is_needed, tensor.name


def test_biases_that_are_added_unasked_are_needed() -> None:
    metadata, tensors = made("qwen2vl")
    for name in ("v.blk.1.attn_q.bias", "mm.0.bias", "v.blk.0.ln1.bias", "v.post_ln.bias"):
        fewer = {key: value for key, value in tensors.items() if key != name}
        assert faults(metadata, fewer) == [f"{name} is missing"]


def test_tables_of_positions_that_pictures_do_not_fit() -> None:
    metadata, tensors = made("gemma4")
    table = dataclasses.replace(tensors["v.position_embd.weight"], shape=(32, 3359, 2))
    assert "3,359 positions" in faults(metadata, {**tensors, table.name: table})[0]
    metadata, tensors = made("qwen3vl")
    table = dataclasses.replace(tensors["v.position_embd.weight"], shape=(32, 15))
    assert "no square" in faults(metadata, {**tensors, table.name: table})[0]


def test_old_files_have_matrices_under_each_others_names() -> None:
    metadata, tensors = made("qwen2vl")
    swap = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}
    old = {}
    for name, tensor in tensors.items():
        part = next((part for part in swap if f".{part}." in name), None)
        new = name if part is None else name.replace(part, swap[part])
        old[new] = dataclasses.replace(tensor, name=new)
    assert faults({**metadata, "clip.vision.feed_forward_length": 0}, old) == []
    square = {
        name: dataclasses.replace(tensor, shape=tuple(min(n, 32) for n in tensor.shape))
        if ".ffn_" in name
        else tensor
        for name, tensor in tensors.items()
    }
    assert "takes for swapped" in faults(metadata, square)[0]
