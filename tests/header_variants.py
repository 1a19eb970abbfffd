"""Well-formed GGUF files with one wrong value each: a number changed, a key missing, or one too many."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.gguf_reader import QuickReader

U32, F32, BOOL, STRING = 4, 6, 7, 8
"""GGUF's numbers of these types."""

FURTHER_KEYS: dict[int, tuple[str, ...]] = {
    U32: (
        "nextn_predict_layers", "expert_count", "expert_used_count", "expert_group_count",
        "expert_group_used_count", "expert_gating_func", "expert_shared_count", "expert_feed_forward_length",
        "attention.head_count_kv", "attention.key_length", "attention.value_length",
        "attention.key_length_swa",
        "attention.value_length_swa", "attention.key_length_mla", "attention.value_length_mla",
        "attention.sliding_window", "attention.sliding_window_pattern", "attention.group_norm_groups",
        "attention.q_lora_rank", "attention.kv_lora_rank", "attention.shared_kv_layers",
        "attention.relative_buckets_count", "attention.temperature_length", "rope.dimension_count",
        "rope.dimension_count_swa", "rope.scaling.original_context_length", "pooling_type",
        "classifier.pooling_type", "embedding_length_out", "embedding_length_per_layer_input",
        "leading_dense_block_count", "interleave_moe_layer_step", "moe_every_n_layers", "n_deepstack_layers",
        "decoder_block_count", "decoder_start_token_id", "ssm.conv_kernel", "token_shift_count", "vocab_size",
    ),
    F32: (
        "attention.max_alibi_bias", "attention.clamp_kqv", "attention.scale", "attention.temperature_scale",
        "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "attention.group_norm_epsilon",
        "attn_logit_softcapping", "final_logit_softcapping", "router_logit_softcapping", "logit_scale",
        "residual_scale", "embedding_scale", "expert_weights_scale", "rope.freq_base", "rope.freq_base_swa",
        "rope.scale_linear", "rope.scaling.factor", "rope.scaling.attn_factor",
        "rope.scaling.yarn_log_multiplier", "rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor",
        "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
    ),
    BOOL: ("attention.causal", "expert_weights_norm", "use_parallel_residual", "swin_norm"),
}  # fmt: skip
"""Keys that llama.cpp reads for some or all architectures, by their type."""

_ADDED: dict[int, tuple[Any, ...]] = {
    U32: (0, 1, 3, 64, 2**31 - 1),
    F32: (0.0, -1.0, float("nan"), float("inf")),
    BOOL: (False, True),
}
_FORMATS = {U32: "<I", F32: "<f", BOOL: "<?"}


@dataclass(frozen=True)
class Variant:
    """A change of one key: the bytes to write over the file's own, or a key to add to it."""

    key: str
    what: str
    at: int = 0
    new: bytes = b""
    added: bytes | None = None

    def of(self, data: bytes) -> bytes:
        """Return the file with this change."""
        if self.added is not None:
            return _with_key(data, self.added)
        return data[: self.at] + self.new + data[self.at + len(self.new) :]


def variants(path: Path) -> list[Variant]:
    """Return all changes of a file's header, always in the same order."""
    reader = QuickReader(str(path))
    data = path.read_bytes()
    keys = [key for key in reader.fields if not key.startswith("GGUF.")]
    architecture = str(reader.fields["general.architecture"].contents())
    found = [variant for key in keys for variant in _changed(reader, key)]
    found += [_deleted(data, key) for key in keys]
    for type_, names in FURTHER_KEYS.items():
        for name in (f"{architecture}.{name}" for name in names):
            if name not in keys:
                found += [_added(name, type_, value) for value in _ADDED[type_]]
    return found


def some_variants(path: Path, count: int, seed: str) -> list[Variant]:
    """Return `count` of the changes, the same ones for the same seed."""
    found = variants(path)
    return random.Random(seed).sample(found, min(count, len(found)))


def _changed(reader: QuickReader, key: str) -> Iterator[Variant]:
    field = reader.fields[key]
    if not field.types or field.types[-1] == gguf.GGUFValueType.STRING:
        return
    base = reader.data.ctypes.data
    places = field.data if len(field.data) <= 1 else [field.data[0], field.data[-1]]
    for place in places:
        part = field.parts[place]
        for value in _wrong_values(part[0]):
            new = np.array([value], part.dtype).tobytes()
            yield Variant(key, f"is {value}", at=part.ctypes.data - base, new=new)


def _wrong_values(old: Any) -> list[Any]:
    if old.dtype.kind == "b":
        return [not old]
    if old.dtype.kind == "f":
        numbers = (0.0, -1.0, 5.0, float("nan"), float("inf"), 1e30, 1e-30)
        return [number for number in numbers if number != float(old)]
    limits, n = np.iinfo(old.dtype), int(old)
    tried = {0, 1, 2, 3, 7, 255, 513, n - 1, n + 1, n * 2, n // 2, 2**31 - 1, limits.max, -1, limits.min}
    return sorted(number for number in tried - {n} if limits.min <= number <= limits.max)


def _deleted(data: bytes, key: str) -> Variant:
    at = data.index(struct.pack("<Q", len(key)) + key.encode()) + 8 + len(key) - 1
    return Variant(key, "is missing", at=at, new=b"~")  # nobody reads a key of that name


def _added(key: str, type_: int, value: Any) -> Variant:
    entry = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", type_)
    return Variant(key, f"is {value}", added=entry + struct.pack(_FORMATS[type_], value))


def _with_key(data: bytes, entry: bytes) -> bytes:
    """Return a file with one more entry, and one of a length that leaves everything aligned."""
    name = b"x.pad"
    n_pad = -(len(entry) + 8 + len(name) + 4 + 8) % 32
    pad = struct.pack("<Q", len(name)) + name + struct.pack("<IQ", STRING, n_pad) + b"p" * n_pad
    (n_keys,) = struct.unpack_from("<Q", data, 16)
    return data[:16] + struct.pack("<Q", n_keys + 2) + entry + pad + data[24:]
