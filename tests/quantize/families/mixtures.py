"""Mixtures of experts: AFMoE."""

from __future__ import annotations

from tests.quantize.families.family import BPE_VOCABULARY, PICO, Family, Shape, causal

BPE = PICO | BPE_VOCABULARY


def one_by_one(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return a checkpoint's shapes with each expert's matrices by themselves, as on the Hub."""
    made: dict[str, Shape] = {}
    for name, shape in shapes.items():
        prefix, _, part = name.rpartition(".experts.")
        if part not in ("gate_up_proj", "down_proj"):
            made[name] = shape
            continue
        n_expert, n_out, n_in = shape
        for expert in range(n_expert):
            halves = (part,) if part == "down_proj" else ("gate_proj", "up_proj")
            one = (n_out // len(halves), n_in)
            made |= {f"{prefix}.experts.{expert}.{half}.weight": one for half in halves}
    return made


FAMILIES: tuple[Family, ...] = (
    Family(
        "afmoe",
        "AfmoeForCausalLM",
        causal(
            "AfmoeConfig",
            **BPE | {"num_hidden_layers": 4},
            head_dim=32,
            moe_intermediate_size=64,
            num_experts=4,
            num_experts_per_tok=2,
            num_shared_experts=1,
            sliding_window=16,
            mup_enabled=True,
            route_scale=2.5,
        ),
        config={"route_norm": True, "score_func": "sigmoid"},
        tensors=one_by_one,
        embedding_scale=0.0625,
    ),
)
