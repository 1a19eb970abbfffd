"""Headers that lack a kind of layers without which llama.cpp ends the process. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.gguf.architecture_lists import GLM_LONG_CONTEXT, MIXED_BY_HEADS, MIXED_BY_INTERVAL
from models.gguf.hyperparameters import MAX_LAYERS, Hyperparameters
from models.gguf.reader import GGUFArray, GGUFTensor
from models.gguf.window_layers import encoder_window_layers, has_window, window_layers


def layer_kind_faults(keys: Hyperparameters, tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    """Yield what is wrong with the kinds of layers: those with a window, with a state, with an indexer."""
    yield from _window_faults(keys)
    yield from _state_faults(keys)
    yield from _indexer_layer_faults(keys)
    if keys.prefix == "glm-dsa":
        yield from _indexer_tensor_faults(keys, {tensor.name for tensor in tensors})
    if keys.prefix == "granite_swa":
        yield from _position_faults(keys)


def _window_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield windows that no layer has, or of an encoder all: llama.cpp asserts that there is one."""
    layers = encoder_window_layers(keys)
    for kind, text in ((True, "with"), (False, "without")):
        if layers and kind not in layers:
            yield (
                f"{keys.name('attention.sliding_window_pattern')} leaves no layer {text} a window "
                "(one or more of each kind)"
            )
    if not has_window(keys):
        return
    if not any(window_layers(keys)):
        yield f"{keys.name('attention.sliding_window_pattern')} leaves no layer with a window (one or more)"


def _state_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield layers that all attend, or all have a state, where llama.cpp keeps memory of both kinds."""
    has_state = _layers_with_states(keys)
    if not has_state:
        return
    if not any(has_state):
        yield f"each of the {len(has_state)} layers of {keys.prefix} attends (one or more with a state)"
    # With a window llama.cpp's memory may be without a layer that attends.
    elif all(has_state) and not (keys.prefix == "lfm2" and keys.integer("attention.sliding_window")):
        yield f"none of the {len(has_state)} layers of {keys.prefix} attends (one or more)"


def _layers_with_states(keys: Hyperparameters) -> list[bool]:
    """Return which layers have a state, of those that have one or attend; empty without such a mixture."""
    layers = range(min(keys.n_layers, MAX_LAYERS))
    if keys.prefix in MIXED_BY_HEADS:
        return [keys.kv_heads(layer) == 0 for layer in layers if not _only_feeds_forward(keys, layer)]
    if keys.prefix not in MIXED_BY_INTERVAL:
        return []
    if keys.get("attention.recurrent_layers") is not None:
        listed = keys.per_layer("attention.recurrent_layers")
        return [bool(listed[layer if len(listed) > 1 else 0]) for layer in layers[: len(listed) or None]]
    interval = keys.integer("full_attention_interval")
    interval = MIXED_BY_INTERVAL[keys.prefix] if interval is None else interval
    return [(layer + 1) % interval != 0 for layer in layers] if interval > 0 else []


def _only_feeds_forward(keys: Hyperparameters, layer: int) -> bool:
    """Tell whether a layer of an architecture with layers of one part each is a feed-forward layer."""
    widths = keys.per_layer("feed_forward_length")
    return keys.prefix.startswith("nemotron_h") and layer < len(widths) and widths[layer] != 0


def _indexer_layer_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield layers that would use the choice of an indexer that none before them has made."""
    name = "attention.indexer.types"
    types = keys.per_layer(name)
    if keys.prefix == "glm-dsa" and types and not types[0]:
        yield f"{keys.name(name)} has no indexer in layer 0"
    elif keys.prefix == "dots3note":
        windows = keys.per_layer("attention.sliding_window_pattern")
        for layer in range(min(keys.n_layers, MAX_LAYERS)):
            if not any(numbers[layer : layer + 1] and numbers[layer] for numbers in (windows, types)):
                yield f"{keys.name(name)} has no indexer in layer {layer}, which has no window"
                return


def _indexer_tensor_faults(keys: Hyperparameters, names: set[str]) -> Iterator[str]:
    """Yield layers of GLM that have an indexer by the header, and none of its tensors."""
    types = keys.per_layer("attention.indexer.types")
    for layer in range(min(keys.n_layers, MAX_LAYERS)):
        if len(types) > 0:
            has_indexer = any(types[layer : layer + 1] if len(types) > 1 else types)
        elif (keys.integer("context_length") or 0) < GLM_LONG_CONTEXT:
            has_indexer = True
        else:
            has_indexer = layer < 2 or layer % 4 == 2
        for part in ("attn_q_b", "attn_k", "proj"):
            if has_indexer and (name := f"blk.{layer}.indexer.{part}.weight") not in names:
                yield f"{name} is missing: {keys.name('attention.indexer.types')} has an indexer there"
                return


def _position_faults(keys: Hyperparameters) -> Iterator[str]:
    """Yield a header by which no layer is told positions, for which the graph has an input all the same."""
    pattern = keys.get("attention.rope_pattern")
    rotates = keys.per_layer("attention.rope_pattern")[: max(keys.integer("block_count") or 0, 0)]
    if isinstance(pattern, GGUFArray) and not any(rotates):
        yield f"{keys.name('attention.rope_pattern')} leaves no layer with a rotation (one or more)"
