"""Models whose layers are of several kinds: those that attend, and those that keep a state instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.gguf.header import Metadata, ValueType, array


def layers_of_kind(
    config: ModelConfig, name: str, n_layer: int, kinds: Mapping[str, bool]
) -> tuple[bool, ...]:
    """Return for each layer the value that `kinds` has for its kind, in the list `name` of config.json.

    Raises CheckpointError: no list, another number of layers, an unknown kind.
    """
    listed = config.texts(name)
    if listed is None or len(listed) != n_layer or not set(listed) <= set(kinds):
        shown = "nothing" if listed is None else f"{len(listed)} entries, {', '.join(sorted(set(listed)))}"
        raise CheckpointError(
            f"{name} in config.json has {shown}; expected are {n_layer}, each {' or '.join(kinds)}"
        )
    return tuple(kinds[kind] for kind in listed)


def kv_heads_metadata(prefix: str, n_head_kv: int, attends: Sequence[bool]) -> Metadata:
    """Return the key of each layer's key-value heads, by which llama.cpp knows those that don't attend: 0."""
    heads = [n_head_kv if layer else 0 for layer in attends]
    return {f"{prefix}.attention.head_count_kv": array(ValueType.INT32, heads)}
