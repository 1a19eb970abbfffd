"""DeepSeek: mixtures of experts, and latent attention from V2 on."""

from __future__ import annotations

from collections.abc import Callable

from tests.quantize.families.family import Family, Shape, causal
from tests.quantize.families.published_shapes import (
    BPE,
    EXPERTS,
    deepseek_moe,
)

LATENT = {"qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64, "kv_lora_rank": 256}
LATENT_FULL = {**LATENT, "num_key_value_heads": 4, "first_k_dense_replace": 1}
YARN = {
    "type": "yarn",
    "factor": 40,
    "original_max_position_embeddings": 128,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 0.707,
    "mscale_all_dim": 0.707,
}


def with_further_layer(n_layer: int) -> Callable[[dict[str, Shape]], dict[str, Shape]]:
    """Add a layer, which predicts further tokens."""

    def change(shapes: dict[str, Shape]) -> dict[str, Shape]:
        last = f"model.layers.{n_layer - 1}."
        more = {
            name.replace(last, f"model.layers.{n_layer}."): shape
            for name, shape in shapes.items()
            if name.startswith(last)
        }
        return {**shapes, **more, f"model.layers.{n_layer}.eh_proj.weight": (256, 512)}

    return change


FAMILIES: tuple[Family, ...] = (
    Family("deepseek", "DeepseekForCausalLM", shapes=deepseek_moe),
    Family(
        "deepseek2",
        "DeepseekV2ForCausalLM",
        causal("DeepseekV2Config", **BPE | LATENT_FULL | EXPERTS, q_lora_rank=256, routed_scaling_factor=1.0),
    ),
    Family(
        "deepseek2-lite",
        "DeepseekV2ForCausalLM",
        causal(
            "DeepseekV2Config",
            **BPE | LATENT_FULL | EXPERTS | {"num_hidden_layers": 27, "max_position_embeddings": 5120},
            q_lora_rank=None,
            rope_theta=10000.0,
            rope_scaling=YARN,
        ),
        config={"scoring_func": "softmax", "n_group": 1, "topk_group": 1, "topk_method": "greedy"},
        nulls=("q_lora_rank",),  # a missing one would mean 1,536
    ),
    Family(
        "deepseek3",
        "DeepseekV3ForCausalLM",
        causal(
            "DeepseekV3Config",
            **BPE | LATENT_FULL | EXPERTS | {"n_routed_experts": 8},
            q_lora_rank=256,
            n_group=4,
            topk_group=2,
        ),
        config={"scoring_func": "sigmoid"},
        tensors=with_further_layer(2),
    ),
)
