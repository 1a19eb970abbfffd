"""Checks for projectors on which llama.cpp would abort, crash or compute nonsense. Pure.

Only kinds whose tensors are known here pass: each has its shape, and none is there beside them, as llama.cpp
computes with what it finds by name, unasked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from models.gguf.hyperparameters import MAX_LAYERS, Metadata
from models.gguf.projector import PROJECTOR_ARCHITECTURE
from models.gguf.projector_tensors import (
    CLASS_EMBEDDING,
    KINDS,
    MERGED_SIDE,
    SWAPPED,
    Sizes,
    expected_tensors,
)
from models.gguf.reader import GGUFArray, GGUFTensor

MAX_WIDTH: Final = 1 << 16
"""No projector known has a tenth of these numbers for a patch."""
MAX_SIDE: Final = 8192
"""llama.cpp takes pictures of at most so many points a side."""
MAX_PATCH: Final = 1024
MAX_FACTOR: Final = 64
GEMMA4_POSITIONS: Final = 3360
"""The most patches, side by side, of a picture that llama.cpp gives to Gemma 4: 1,120 tokens in one row."""
USUAL_FACTORS: Final[Mapping[str, int]] = {"gemma3": 4, "gemma4v": 3, "idefics3": 1, "mlp": 1, "pixtral": 1}
"""The side of the squares of patches where the header doesn't say, as llama.cpp has it."""
FACTOR_KEYS: Final[Mapping[str, str]] = {"pixtral": "spatial_merge_size"}
KEY_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("general.name", "general.description"), "str"),
    **dict.fromkeys(("clip.projector_type", "clip.vision.projector_type"), "str"),
    "clip.vision.mm_patch_merge_type": "str",
    **dict.fromkeys((f"clip.has_{part}_encoder" for part in ("vision", "audio", "gen_audio")), "bool"),
    **dict.fromkeys(("clip.use_gelu", "clip.use_silu"), "bool"),
    "clip.vision.attention.layer_norm_epsilon": "f32",
    "clip.minicpmv_version": "i32",
    "clip.minicpmv_query_num": "u32",
    **{
        f"clip.vision.{name}": "u32"
        for name in (
            "attention.head_count",
            "attention.head_count_kv",
            "attention.head_dim",
            "block_count",
            "embedding_length",
            "feed_forward_length",
            "image_size",
            "n_wa_pattern",
            "patch_size",
            "preproc_image_size",
            "projection_dim",
            "projector.scale_factor",
            "spatial_merge_size",
        )
    },
}
"""The GGUF types of the keys that llama.cpp reads of these kinds without asking for their type."""
_HALVES: Final = ("F32", "F16")


def projector_faults(
    metadata: Metadata, types: Mapping[str, str], tensors: Sequence[GGUFTensor]
) -> Iterator[str]:
    """Yield the reasons not to load a projector with this header and these tensors.

    `types` has the GGUF type of each key ("u32", "str" …); llama.cpp ends the process for a wrong one.
    """
    if metadata.get("general.architecture") != PROJECTOR_ARCHITECTURE:
        yield f"its general.architecture isn't {PROJECTOR_ARCHITECTURE}"
        return
    mistyped = [key for key, type_ in KEY_TYPES.items() if types.get(key, type_) != type_]
    if mistyped:
        yield f"{mistyped[0]} has the type {types[mistyped[0]]} ({KEY_TYPES[mistyped[0]]})"
        return
    kind = projector_kind(metadata)
    if metadata.get("clip.has_vision_encoder") is not True:
        yield "it is a projector that doesn't see (clip.has_vision_encoder)"
        return
    if kind not in KINDS:
        what = f"of the kind {kind}" if isinstance(kind, str) else "of no kind that it names"
        yield f"it is a projector {what}; those that can be used are {', '.join(KINDS)}"
        return
    for other in ("clip.has_audio_encoder", "clip.has_gen_audio_encoder"):
        if metadata.get(other) not in (None, False):
            yield f"it also hears ({other}), which isn't supported; use one that only sees"
            return
    keys = _Keys(metadata)
    faults = [*_number_faults(keys), *_list_faults(keys)] or [*_kind_faults(kind, keys)]
    yield from faults or _tensor_faults(kind, keys, tensors)


def projector_kind(metadata: Metadata) -> Any:
    """Return `clip.projector_type`, or that of what sees where a file has several."""
    return metadata.get("clip.projector_type") or metadata.get("clip.vision.projector_type")


def projector_width(metadata: Metadata) -> int | None:
    """Return the width of the model that a projector is for; None if the header has none."""
    value = metadata.get("clip.vision.projection_dim")
    return value if type(value) is int else None


class _Keys:
    """The values under `clip.vision.`."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata

    def get(self, name: str) -> Any:
        return self.metadata.get(f"clip.vision.{name}")

    def size(self, name: str, default: int = 0) -> int:
        value = self.get(name)
        return default if value is None else int(value)

    def factor(self, kind: str) -> int:
        if kind.startswith("qwen"):
            return MERGED_SIDE
        return self.size(FACTOR_KEYS.get(kind, "projector.scale_factor"), USUAL_FACTORS[kind])


def _number_faults(keys: _Keys) -> Iterator[str]:
    """Yield sizes that are missing or beyond their bounds."""
    bounds = {
        "embedding_length": MAX_WIDTH,
        "block_count": MAX_LAYERS,
        "attention.head_count": MAX_WIDTH,
        "projection_dim": MAX_WIDTH,
        "image_size": MAX_SIDE,
        "patch_size": MAX_PATCH,
    }
    bad = [name for name, most in bounds.items() if not _is_within(keys.get(name), 1, most)]
    for name in bad:
        yield f"clip.vision.{name} is {_shown(keys.get(name))} (1 to {bounds[name]:,})"
    # llama.cpp reads it and goes by the tensors; old files have a zero.
    if not _is_within(keys.get("feed_forward_length"), 0, MAX_WIDTH * 16):
        yield f"clip.vision.feed_forward_length is {_shown(keys.get('feed_forward_length'))}"
    epsilon = keys.get("attention.layer_norm_epsilon")
    if not isinstance(epsilon, float) or not 0 <= epsilon < 1:
        yield f"clip.vision.attention.layer_norm_epsilon is {_shown(epsilon)} (0 to 1)"
    if bad:
        return
    n_embd, n_head = keys.size("embedding_length"), keys.size("attention.head_count")
    # Positions turn two halves of a head, by pairs.
    if n_embd % n_head or n_embd // n_head % 4:
        yield f"clip.vision.embedding_length is {n_embd} for {n_head} heads (a multiple of 4 for each)"
    for name, only in (("attention.head_dim", n_embd // n_head), ("attention.head_count_kv", n_head)):
        if keys.get(name) not in (None, only):
            yield f"clip.vision.{name} is {_shown(keys.get(name))} ({only})"
    if keys.size("patch_size") > keys.size("image_size"):
        yield f"clip.vision.patch_size is {keys.size('patch_size')} in pictures of {keys.size('image_size')}"


def _list_faults(keys: _Keys) -> Iterator[str]:
    """Yield what is wrong with the numbers that pictures are brought to, and with the activation."""
    for name in ("image_mean", "image_std"):
        value = keys.get(name)
        numbers = value.numbers() if isinstance(value, GGUFArray) and value.element_type == "f32" else []
        if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
            yield f"clip.vision.{name} is no list of three finite numbers"
        elif name == "image_std" and not all(numbers):
            yield f"clip.vision.{name} has a zero, by which pictures would be divided"
    if keys.get("feature_layer") is not None or keys.get("image_grid_pinpoints") is not None:
        yield "it has clip.vision.feature_layer or image_grid_pinpoints, which its kind doesn't"
    flags = [keys.metadata.get(f"clip.use_{name}") for name in ("gelu", "silu")]
    if any(flag not in (None, False, True) for flag in flags) or all(flags):
        yield "clip.use_gelu and clip.use_silu are both true, or no booleans"


def _kind_faults(kind: str, keys: _Keys) -> Iterator[str]:
    """Yield values that a kind can't have."""
    for name in ("projector.scale_factor", "spatial_merge_size", "n_wa_pattern", "preproc_image_size"):
        if keys.get(name) is not None and not _is_within(keys.get(name), 1, MAX_SIDE * 4):
            yield f"clip.vision.{name} is {_shown(keys.get(name))} (1 to {MAX_SIDE * 4:,})"
            return
    if kind.startswith("qwen"):
        if keys.size("spatial_merge_size", MERGED_SIDE) != MERGED_SIDE:
            yield f"clip.vision.spatial_merge_size is {keys.size('spatial_merge_size')} ({MERGED_SIDE})"
        if kind == "qwen2.5vl_merger" and not _is_within(keys.get("n_wa_pattern"), 2, MAX_LAYERS):
            # Of 1 no layer has a window, for which llama.cpp looks all the same.
            yield f"clip.vision.n_wa_pattern is {_shown(keys.get('n_wa_pattern'))} (2 to {MAX_LAYERS:,})"
        return
    factor, n_side = keys.factor(kind), keys.size("image_size", 1) // max(keys.size("patch_size", 1), 1)
    least = 2 if kind == "idefics3" else 1
    most = MAX_FACTOR if kind in ("gemma4v", "pixtral") else min(MAX_FACTOR, max(n_side, 1))
    if not least <= factor <= most:
        yield f"its squares of patches have a side of {factor} ({least} to {most})"
    if kind == "idefics3" and keys.get("preproc_image_size") is None:
        yield "it has no clip.vision.preproc_image_size"


def _tensor_faults(kind: str, keys: _Keys, tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    """Yield tensors that are missing, of another shape or type, or that its kind doesn't have."""
    found = {tensor.name: tensor for tensor in tensors}
    sizes = _sizes(kind, keys, found)
    expected = {one.name: one for one in expected_tensors(kind, sizes)}
    for one in expected.values():
        tensor = found.get(one.name)
        if tensor is None:
            if one.required:
                yield f"{one.name} is missing"
        elif tensor.shape != one.shape:
            yield f"{one.name} has the shape {list(tensor.shape)}; by its header it is {list(one.shape)}"
        elif not _has_usable_type(kind, tensor):
            yield f"{one.name} has the type {tensor.type}, with which its kind doesn't compute"
    if kind in SWAPPED and sizes.n_ff == sizes.n_embd:
        yield f"its layers have {sizes.n_ff} numbers inside and outside, which llama.cpp takes for swapped"
    unknown = sorted(set(found) - set(expected))
    if unknown:
        yield f"{unknown[0]} is no tensor of its kind, {kind}"
    table = found.get("v.position_embd.weight")
    if kind == "qwen3vl_merger" and table is not None and math.isqrt(table.shape[1]) ** 2 != table.shape[1]:
        yield f"v.position_embd.weight has {table.shape[1]:,} positions, which are no square"
    if kind == "gemma4v" and table is not None and table.shape[1] < GEMMA4_POSITIONS:
        yield f"v.position_embd.weight has {table.shape[1]:,} positions ({GEMMA4_POSITIONS:,} or more)"


def _sizes(kind: str, keys: _Keys, found: Mapping[str, GGUFTensor]) -> Sizes:
    """Return the header's sizes, with those that only tensors tell."""
    up, table = found.get("v.blk.0.ffn_up.weight"), found.get("v.position_embd.weight")
    n_layer, side = keys.size("block_count"), keys.size("image_size") // keys.size("patch_size")
    n_embd = keys.size("embedding_length")
    is_swapped = kind in SWAPPED and up is not None and up.shape[0] != n_embd
    n_patches = side**2 + (kind == "mlp" and CLASS_EMBEDDING in found)
    is_free = kind in ("gemma4v", "qwen3vl_merger") and table is not None and len(table.shape) > 1
    return Sizes(
        n_embd=n_embd,
        n_ff=keys.size("feed_forward_length") if up is None else up.shape[0 if is_swapped else -1],
        n_layer=n_layer,
        n_head=keys.size("attention.head_count"),
        n_text=keys.size("projection_dim"),
        image_size=keys.size("image_size"),
        patch_size=keys.size("patch_size"),
        factor=keys.factor(kind),
        n_positions=table.shape[1] if is_free and table is not None else n_patches,
        swapped=is_swapped,
        deep_layers=tuple(at for at in range(n_layer) if f"v.deepstack.{at}.fc1.weight" in found),
    )


def _has_usable_type(kind: str, tensor: GGUFTensor) -> bool:
    if len(tensor.shape) == 1 or (tensor.name == "v.position_embd.weight" and kind != "mlp"):
        return tensor.type == "F32"
    is_convolution = tensor.name.startswith("v.patch_embd.")
    is_added = tensor.name in ("v.position_embd.weight", "mm.input_projection.weight")
    if is_convolution or (kind in ("gemma3", "mlp") and is_added):
        return tensor.type in _HALVES
    return not tensor.type.startswith("I") or tensor.type.startswith("IQ")


def _is_within(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:60]
