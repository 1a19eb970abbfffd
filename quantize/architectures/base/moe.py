"""Keys and tensor rules of mixtures of experts, which their families share.

llama.cpp has each matrix of all experts in one tensor of three axes. Published checkpoints have a matrix per
expert; transformers 5 computes with, and may save, `experts.gate_up_proj` [experts, gate above up, row] and
`experts.down_proj` [experts, out, in]. Either form is read, an expert at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import Same, Slice, SliceOfEach, Stack, Transform
from quantize.gguf.header import Metadata, uint32

Matrices = Mapping[str, tuple[str, tuple[int, int]]]
"""The matrices gate, up and down: each one's name in the checkpoint, and its shape in one expert."""


def gated_matrices(names: Mapping[str, str], n_embd: int, n_ff: int) -> Matrices:
    """Return the three matrices of a gated feed-forward by their names in the checkpoint."""
    return {
        "gate": (names["gate"], (n_ff, n_embd)),
        "up": (names["up"], (n_ff, n_embd)),
        "down": (names["down"], (n_embd, n_ff)),
    }


PROJECTIONS = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
"""The usual names of a gated feed-forward's matrices."""

FUSED = {"gate": "gate_up_proj", "up": "gate_up_proj", "down": "down_proj"}
"""The names of the tensors that hold all experts' matrices."""


def expert_count_metadata(prefix: str, n_expert: int, n_used: int) -> Metadata:
    """Return the keys of the number of experts, and of those used for a token."""
    return {f"{prefix}.expert_count": uint32(n_expert), f"{prefix}.expert_used_count": uint32(n_used)}


def leading_dense_layers(config: ModelConfig) -> int | None:
    """Return the number of dense layers at the start by `mlp_layer_types`; None where config.json has none.

    Raises CheckpointError: dense layers behind the first one with experts, which llama.cpp has no key for.
    """
    kinds = config.texts("mlp_layer_types")
    if kinds is None:
        return None
    n_dense = next((place for place, kind in enumerate(kinds) if kind != "dense"), len(kinds))
    if set(kinds[n_dense:]) - {"sparse"}:
        raise CheckpointError(
            f"mlp_layer_types in config.json has {', '.join(sorted(set(kinds)))} in an order that llama.cpp "
            "can't describe; it has dense layers at the start and sparse ones behind them"
        )
    return n_dense


def router_rule(target: str, source: str, shape: tuple[int, ...]) -> TensorRule:
    """Return the rule of a matrix that chooses experts: small, and always F32."""
    return TensorRule(f"{target}.weight", (f"{source}.weight",), shape, f32=True)


def expert_rules(target: str, source: str, n_expert: int, matrices: Matrices) -> list[TensorRule]:
    """Return the rules that stack `<source>.<expert>.<name>.weight` to `<target>.ffn_<part>_exps.weight`.

    Where a checkpoint has the experts in tensors of three axes, these are taken instead.
    """
    return [
        TensorRule(
            f"{target}.ffn_{part}_exps.weight",
            tuple(f"{source}.{expert}.{name}.weight" for expert in range(n_expert)),
            (n_expert, *shape),
            Stack(n_expert),
            others=(fused_expert_rule(target, part, f"{source}.{FUSED[part]}", (n_expert, *shape)),),
        )
        for part, (name, shape) in matrices.items()
    ]


def fused_expert_rule(target: str, part: str, source: str, shape: tuple[int, int, int]) -> TensorRule:
    """Return the rule that takes a matrix of all experts out of a tensor that has gate above up in each."""
    n_ff = shape[1]
    transform: Transform = Same()
    if part != "down":
        transform = SliceOfEach(0 if part == "gate" else n_ff, n_ff, of=2 * n_ff)
    return TensorRule(f"{target}.ffn_{part}_exps.weight", (source,), shape, transform)


def plain_rules(target: str, suffix: str, source: str, matrices: Matrices) -> list[TensorRule]:
    """Return a feed-forward's rules: `<source>.<name>.weight` to `<target>.ffn_<part><suffix>.weight`."""
    return [
        TensorRule(f"{target}.ffn_{part}{suffix}.weight", (f"{source}.{name}.weight",), shape)
        for part, (name, shape) in matrices.items()
    ]


def fused_gate_up(part: str, n_ff: int) -> Transform:
    """Return the transform that takes gate or up out of a matrix that has gate above up."""
    if part == "down":
        return Same()
    return Slice(0 if part == "gate" else n_ff, n_ff, of=2 * n_ff)
