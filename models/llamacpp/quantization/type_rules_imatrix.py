"""What an importance matrix changes in llama.cpp's choice of types. Pure.

llama.cpp's exported rules take it that there is none, so its four exceptions for files made with one are
applied here. A test compares with `llama_model_quantize`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from models.llamacpp.quantization.ggml_types import ALL_FTYPES, GGML_TYPES, blck_size

_ATTENTION_V = ("attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight")
_WIDER = {"Q4_0": "Q4_1", "Q5_0": "Q5_1"}


def with_imatrix(
    n_layer: int,
    n_expert: int,
    ftype: int,
    tensors: Sequence[tuple[str, Sequence[int], int]],
    types: Sequence[int],
    overrides: Mapping[str, int],
) -> list[int]:
    """The types of a file made with an importance matrix, from those of one made without.

    `tensors` in llama.cpp's order, as `type_plan` has them. Tensors that stay as they are, and `overrides`,
    are left alone.
    """
    name = next(name for name, number in ALL_FTYPES.items() if number == ftype)
    changed, n_down = list(types), 0
    for i, (tensor, ne, source_type) in enumerate(tensors):
        kept = types[i] == source_type or tensor in overrides
        if name == "IQ3_XXS" and not kept and _is_attention_v(tensor):
            changed[i] = GGML_TYPES["IQ3_XXS"] if types[i] == GGML_TYPES["IQ3_S"] else types[i]
        if not _is_ffn_down(tensor) or kept:
            continue
        layer = _layer(tensor) if n_expert > 1 else n_down
        n_down += 1
        wanted = _ffn_down(name, layer < n_layer // 8)
        if wanted is not None:
            changed[i] = _fitting(wanted, ne[0])
    return changed


def _ffn_down(ftype: str, early: bool) -> str | None:
    """The type of a layer's `ffn_down` where an importance matrix makes a difference. `early`: of the first
    eighth of the layers.
    """
    if ftype == "IQ3_XXS":
        return "IQ3_XXS"
    if early and ftype in ("IQ4_NL", "IQ4_XS"):
        return ftype
    return _WIDER.get(ftype) if early else None


def _fitting(ggml_type: str, n_per_row: int) -> int:
    """The type, or what llama.cpp falls back to for rows that its blocks don't divide."""
    for name in (ggml_type, "IQ4_NL"):
        if n_per_row % blck_size(GGML_TYPES[name]) == 0:
            return GGML_TYPES[name]
    return GGML_TYPES["F16"]


def _is_attention_v(name: str) -> bool:
    return any(part in name for part in _ATTENTION_V)


def _is_ffn_down(name: str) -> bool:
    return "ffn_down" in name and not _is_attention_v(name) and name.endswith("weight")


def _layer(name: str) -> int:
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else 0
