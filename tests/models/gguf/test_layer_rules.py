"""Headers that lack a kind of layers are refused where llama.cpp needs it, and no others."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from models.gguf.hyperparameters import Hyperparameters
from models.gguf.layer_rules import layer_kind_faults
from models.gguf.reader import GGUFArray, GGUFTensor

HEADER: dict[str, Any] = {"block_count": 2, "attention.head_count": 4, "attention.head_count_kv": 2}


def faults(architecture: str, names: tuple[str, ...] = (), **changes: Any) -> list[str]:
    values = {**HEADER, **{key.replace("__", "."): value for key, value in changes.items()}}
    metadata = {f"{architecture}.{key}": value for key, value in values.items() if value is not None}
    tensors = [GGUFTensor(name, (64, 64), "F16", 0, 0) for name in names]
    return list(layer_kind_faults(Hyperparameters(metadata, architecture), tensors))


LAST_WINDOW = GGUFArray("bool", 2, bytes([0, 1]))
NO_WINDOW = GGUFArray("bool", 2, bytes(2))


@pytest.mark.parametrize(
    "architecture", ["gemma2", "gpt-oss", "laguna", "llama4", "exaone-moe", "granite_swa"]
)
@pytest.mark.parametrize(
    ("pattern", "is_right"),
    [
        (LAST_WINDOW, True),
        (NO_WINDOW, False),
        (GGUFArray("bool", 0, b""), False),
        (GGUFArray("bool", 3, bytes([0, 0, 1])), False),
        (0, True),
        (3, True),
        (1, False),
        (None, True),
    ],
)
def test_a_cache_of_windows_has_layers(architecture: str, pattern: Any, is_right: bool) -> None:
    changes = {"attention__sliding_window": 8, "attention__sliding_window_pattern": pattern}
    found = [fault for fault in faults(architecture, **changes) if "leaves no layer" in fault]
    assert (found == []) == is_right, found


@pytest.mark.parametrize(
    ("architecture", "changes", "is_right"),
    [
        ("laguna", {}, True),
        ("laguna", {"attention__sliding_window": 0}, True),
        ("gemma3", {"attention__sliding_window": 0}, True),
        ("llama4", {"attention__sliding_window": 0}, True),
        ("llama4", {}, False),
        ("exaone4", {}, True),
        ("exaone4", {"block_count": 64}, False),
        ("exaone4", {"block_count": 65, "nextn_predict_layers": 1}, False),
        ("exaone4", {"block_count": 64, "nextn_predict_layers": 1}, True),
        ("modern-bert", {}, True),
        ("modern-bert", {"attention__sliding_window": 8}, False),
        ("gemma-embedding", {"attention__sliding_window": 8}, False),
        ("maple", {}, False),
    ],
)
def test_a_cache_of_windows_needs_them_and_an_encoders_mask(
    architecture: str, changes: dict[str, Any], is_right: bool
) -> None:
    found = faults(architecture, attention__sliding_window_pattern=NO_WINDOW, **changes)
    assert any("leaves no layer" in fault for fault in found) != is_right


def test_one_layer_may_be_too_few_for_a_window() -> None:
    changes: dict[str, Any] = {"block_count": 1, "attention__sliding_window": 8}
    for architecture, is_right in (("smallthinker", False), ("laguna", False), ("gemma2", True)):
        found = faults(architecture, **changes)
        assert any("leaves no layer" in fault for fault in found) != is_right, architecture


HALF_ATTENDING = GGUFArray("i32", 2, struct.pack("<2i", 0, 1))
NONE_ATTENDING = GGUFArray("i32", 2, bytes(8))
FEEDS_LAST = GGUFArray("i32", 2, struct.pack("<2i", 0, 64))
PREDICTING: dict[str, Any] = {"attention__head_count_kv": HALF_ATTENDING, "nextn_predict_layers": 1}
HALF_FEEDING: dict[str, Any] = {
    "attention__head_count_kv": HALF_ATTENDING,
    "feed_forward_length": FEEDS_LAST,
}
ONE_OF_FOUR: dict[str, Any] = {"block_count": 4, "full_attention_interval": 4}


@pytest.mark.parametrize(
    ("architecture", "changes", "fault"),
    [
        ("lfm2", {"attention__head_count_kv": HALF_ATTENDING}, ""),
        ("lfm2", {"attention__head_count_kv": 2}, "each of the 2 layers"),
        ("lfm2", {"attention__head_count_kv": NONE_ATTENDING}, "none of the 2 layers"),
        ("lfm2", {"attention__head_count_kv": NONE_ATTENDING, "attention__sliding_window": 8}, ""),
        (
            "bailingmoe3",
            PREDICTING,
            "none of the 1",
        ),
        (
            "nemotron_h",
            HALF_FEEDING,
            "none of",
        ),
        ("jamba", HALF_FEEDING, ""),
        ("qwen35moe", ONE_OF_FOUR, ""),
        ("qwen3next", {**ONE_OF_FOUR, "full_attention_interval": 1}, "each of the 4 layers"),
        ("qwen35", {**ONE_OF_FOUR, "full_attention_interval": None}, ""),
        ("minimax-01", {**ONE_OF_FOUR, "full_attention_interval": None}, "none of the 4 layers"),
        ("minimax-01", {**ONE_OF_FOUR, "attention__recurrent_layers": LAST_WINDOW}, ""),
        ("qwen35", {**ONE_OF_FOUR, "attention__recurrent_layers": NO_WINDOW}, "each of the"),
        ("falcon-h1", {"attention__head_count_kv": 2}, ""),
        ("mamba", {"attention__head_count_kv": 0}, ""),
    ],
)
def test_memory_of_two_kinds_has_layers_of_both(
    architecture: str, changes: dict[str, Any], fault: str
) -> None:
    found = [found for found in faults(architecture, **changes) if " layers of " in found]
    assert fault in found[0] if fault else found == []


FIRST_INDEXER = GGUFArray("u32", 2, struct.pack("<2I", 1, 0))
INDEXERS = tuple(
    f"blk.{layer}.indexer.{part}.weight" for layer in (0, 1) for part in ("attn_q_b", "attn_k", "proj")
)


@pytest.mark.parametrize(
    ("names", "changes", "missing"),
    [
        (INDEXERS, {}, ""),
        (INDEXERS[:3], {}, "blk.1.indexer.attn_q_b.weight is missing"),
        (INDEXERS[:3], {"attention__indexer__types": FIRST_INDEXER}, ""),
        (INDEXERS[1:], {"attention__indexer__types": FIRST_INDEXER}, "blk.0.indexer.attn_q_b"),
        (INDEXERS[:3], {"attention__indexer__types": 1}, "blk.1.indexer.attn_q_b"),
        (INDEXERS[:3], {"nextn_predict_layers": 1}, ""),
        (INDEXERS, {"context_length": 1 << 20, "block_count": 3}, "blk.2.indexer.attn_q_b"),
        (INDEXERS, {"context_length": 1 << 20}, ""),
    ],
)
def test_a_layer_with_an_indexer_has_its_tensors(
    names: tuple[str, ...], changes: dict[str, Any], missing: str
) -> None:
    found = faults("glm-dsa", names, **changes)
    assert missing in found[0] if missing else found == []


def test_one_layer_of_granite_rotates() -> None:
    for pattern, is_right in ((None, True), (LAST_WINDOW, True), (NO_WINDOW, False)):
        found = [fault for fault in faults("granite_swa", attention__rope_pattern=pattern) if "rope" in fault]
        assert (found == []) == is_right, pattern


@pytest.mark.parametrize(("period", "is_right"), [(1, False), (2, True), (3, False)])
def test_an_encoder_with_windows_needs_layers_of_both_kinds(period: int, is_right: bool) -> None:
    changes: dict[str, Any] = {"block_count": 2, "attention__sliding_window": 8}
    found = faults("gemma-embedding", attention__sliding_window_pattern=period, **changes)
    assert any("leaves no layer" in fault for fault in found) != is_right
