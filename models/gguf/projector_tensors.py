"""The tensors that llama.cpp's projectors compute with, by kind: names and shapes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

N_CHANNELS: Final = 3
"""A picture has so many numbers for each of its points."""
CLASS_EMBEDDING: Final = "v.class_embd"
"""LLaVA's files may have it: one more embedding, with a position of its own, beside those of patches."""
MERGED_SIDE: Final = 2
"""Qwen's projectors join squares of so many patches a side to a token."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sizes:
    """The sizes in a projector's header that shapes depend on; `n_ff` as the tensors have it."""

    n_embd: int
    n_ff: int
    n_layer: int
    n_head: int
    n_text: int
    image_size: int
    patch_size: int
    factor: int
    """The patches, by the side of a square, that become a token."""
    n_positions: int
    """The rows of the table of positions."""
    swapped: bool = False
    """The matrices of feed-forward layers have each other's names, as in old files."""
    deep_layers: tuple[int, ...] = ()
    """The layers whose features go into deeper layers of the model."""


@dataclass(frozen=True)
class Expected:
    """A tensor that a kind computes with. `shape`: the row length first."""

    name: str
    shape: Shape
    required: bool = True


@dataclass(frozen=True)
class Kind:
    """The form of one kind's layers."""

    norms_shift: bool
    gated: bool
    attention: Literal["apart", "fused"] = "apart"
    biases: bool = True
    """Biases of matrices: required where the graph adds them without asking."""


KINDS: Final[Mapping[str, Kind]] = {
    "gemma3": Kind(norms_shift=True, gated=False),
    "gemma4v": Kind(norms_shift=False, gated=True, biases=False),
    "idefics3": Kind(norms_shift=True, gated=False),
    "mlp": Kind(norms_shift=True, gated=False),
    "pixtral": Kind(norms_shift=False, gated=True, biases=False),
    "qwen2.5vl_merger": Kind(norms_shift=False, gated=True),
    "qwen2vl_merger": Kind(norms_shift=True, gated=False),
    "qwen3vl_merger": Kind(norms_shift=True, gated=False, attention="fused"),
}
"""The kinds of projectors (`clip.projector_type`) whose files are checked, and may be loaded."""


SWAPPED: Final = ("gemma3", "idefics3", "mlp", "qwen2.5vl_merger", "qwen2vl_merger")
"""The kinds of whose old files llama.cpp swaps `ffn_up` and `ffn_down`, where the shape of one says so."""


def expected_tensors(kind: str, sizes: Sizes) -> Iterator[Expected]:
    """Yield the tensors that a file of `kind` must have, and those that it may have."""
    yield from _picture(kind, sizes)
    for layer in range(sizes.n_layer):
        yield from _layer(kind, KINDS[kind], sizes, f"v.blk.{layer}")
    if kind.startswith("qwen"):
        yield from _qwen_merger(kind, sizes)
    else:
        yield from _CONNECTORS[kind](sizes)


def _picture(kind: str, s: Sizes) -> Iterator[Expected]:
    patch = (s.patch_size, s.patch_size, N_CHANNELS, s.n_embd)
    yield Expected("v.patch_embd.weight", patch)
    if kind.startswith("qwen"):
        yield Expected("v.patch_embd.weight.1", patch)
    if kind in ("gemma3", "idefics3", "qwen3vl_merger"):
        yield Expected("v.patch_embd.bias", (s.n_embd,))
        yield Expected("v.position_embd.weight", (s.n_embd, s.n_positions))
    elif kind == "gemma4v":
        yield Expected("v.position_embd.weight", (s.n_embd, s.n_positions, 2))
    elif kind == "mlp":
        yield Expected(CLASS_EMBEDDING, (s.n_embd,), required=False)
        yield Expected("v.patch_embd.bias", (s.n_embd,), required=False)
        yield Expected("v.position_embd.weight", (s.n_embd, s.n_positions))
        yield from _norm("v.pre_ln", s.n_embd, shifts=True, required=False)
    yield from _norm("v.post_ln", s.n_embd, shifts=KINDS[kind].norms_shift, required=kind.startswith("qwen"))
    if kind == "pixtral":
        yield from _norm("v.pre_ln", s.n_embd, shifts=False, required=False)


def _layer(name: str, kind: Kind, s: Sizes, at: str) -> Iterator[Expected]:
    n, d_head = s.n_embd, s.n_embd // s.n_head
    for norm in ("ln1", "ln2"):
        yield from _norm(f"{at}.{norm}", n, shifts=kind.norms_shift)
    if name == "gemma4v":
        for norm, size in (("attn_q_norm", d_head), ("attn_k_norm", d_head)):
            yield Expected(f"{at}.{norm}.weight", (size,))
        for norm in ("attn_post_norm", "ffn_post_norm"):
            yield Expected(f"{at}.{norm}.weight", (n,))
        yield Expected(f"{at}.out_scale.weight", (1,), required=False)
    up, down = ("ffn_down", "ffn_up") if s.swapped else ("ffn_up", "ffn_down")
    matrices: dict[str, Shape] = {"attn_out": (n, n), up: (n, s.n_ff), down: (s.n_ff, n)}
    matrices |= {"ffn_gate": (n, s.n_ff)} if kind.gated else {}
    if kind.attention == "fused":
        matrices["attn_qkv"] = (n, 3 * n)
    else:
        matrices |= dict.fromkeys(("attn_q", "attn_k", "attn_v"), (n, n))
    for part, shape in matrices.items():
        yield Expected(f"{at}.{part}.weight", shape)
        if name != "gemma4v":
            added = kind.biases and part.startswith("attn_") and part != "attn_out"
            yield Expected(f"{at}.{part}.bias", shape[1:], required=added)
        else:
            for bound in ("input_min", "input_max", "output_min", "output_max"):
                yield Expected(f"{at}.{part}.{bound}", (1,), required=False)


def _norm(name: str, n: int, *, shifts: bool, required: bool = True) -> Iterator[Expected]:
    yield Expected(f"{name}.weight", (n,), required)
    if shifts:
        yield Expected(f"{name}.bias", (n,), required)


def _matrix(name: str, shape: Shape, *, bias: bool) -> Iterator[Expected]:
    yield Expected(f"{name}.weight", shape)
    yield Expected(f"{name}.bias", shape[1:], bias)


def _qwen_merger(kind: str, s: Sizes) -> Iterator[Expected]:
    joined = s.n_embd * MERGED_SIDE**2
    yield from _matrix("mm.0", (joined, joined), bias=True)
    yield from _matrix("mm.2", (joined, s.n_text), bias=True)
    if kind == "qwen3vl_merger":
        for layer in s.deep_layers:
            yield from _norm(f"v.deepstack.{layer}.norm", joined, shifts=True)
            yield from _matrix(f"v.deepstack.{layer}.fc1", (joined, joined), bias=True)
            yield from _matrix(f"v.deepstack.{layer}.fc2", (joined, s.n_text), bias=True)


def _gemma3(s: Sizes) -> Iterator[Expected]:
    yield Expected("mm.input_projection.weight", (s.n_text, s.n_embd))
    yield Expected("mm.soft_emb_norm.weight", (s.n_embd,))


def _gemma4(s: Sizes) -> Iterator[Expected]:
    yield Expected("mm.input_projection.weight", (s.n_embd, s.n_text))
    for bound in ("input_min", "input_max", "output_min", "output_max"):
        yield Expected(f"mm.input_projection.{bound}", (1,), required=False)
    for name in ("v.std_bias", "v.std_scale"):
        yield Expected(name, (s.n_embd,), required=False)


def _idefics3(s: Sizes) -> Iterator[Expected]:
    yield Expected("mm.model.fc.weight", (s.n_embd * s.factor**2, s.n_text))


def _mlp(s: Sizes) -> Iterator[Expected]:
    yield from _matrix("mm.0", (s.n_embd, s.n_text), bias=True)
    yield from _matrix("mm.2", (s.n_text, s.n_text), bias=True)


def _pixtral(s: Sizes) -> Iterator[Expected]:
    yield from _matrix("mm.1", (s.n_embd, s.n_text), bias=False)
    yield from _matrix("mm.2", (s.n_text, s.n_text), bias=False)
    yield Expected("v.token_embd.img_break", (s.n_text,))
    merges = s.factor > 1
    yield Expected("mm.input_norm.weight", (s.n_embd,), merges)
    yield Expected("mm.patch_merger.weight", (s.n_embd * s.factor**2, s.n_embd), merges)


_CONNECTORS: Final = {
    "gemma3": _gemma3,
    "gemma4v": _gemma4,
    "idefics3": _idefics3,
    "mlp": _mlp,
    "pixtral": _pixtral,
}
"""The tensors that bring patches to the model's width, of kinds that aren't Qwen's."""
