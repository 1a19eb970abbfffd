"""Hunyuan: dense, seeing, mixtures of experts, and Hy3."""

from __future__ import annotations

from tests.quantize.families.family import Family, Shape, causal
from tests.quantize.families.qwen import BPE, conditional

# The converter takes eod_token_id for the end of answers; here it is the tokenizer's own.
SIZES = BPE | {"eod_token_id": 408, "head_dim": 64}
STRETCHED = {"rope_type": "dynamic", "alpha": 1000.0, "factor": 1.0, "rope_theta": 10000.0}
CONTEXT = {"max_position_embeddings": 32768}
SECTIONS = "of Hunyuan-VL: llama.cpp doesn't turn the fourth section of a text's tokens, the model does"
VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "out_hidden_size": 256,
    "text_hidden_size": 256,
}
FURTHER: dict[str, Shape] = {
    "eh_proj.weight": (256, 512),
    "enorm.weight": (256,),
    "hnorm.weight": (256,),
    "final_layernorm.weight": (256,),
}


def with_further_layer(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the shapes with a third layer, which predicts further tokens."""
    more = {
        name.replace("layers.1.", "layers.2."): shape for name, shape in shapes.items() if "layers.1." in name
    }
    return {**shapes, **more, **{f"model.layers.2.{name}": shape for name, shape in FURTHER.items()}}


FAMILIES: tuple[Family, ...] = (
    Family(
        "hunyuan-dense",
        "HunYuanDenseV1ForCausalLM",
        causal(
            "HunYuanDenseV1Config", **SIZES | CONTEXT, tie_word_embeddings=True, rope_parameters=STRETCHED
        ),
        embedding_scale=1 / 16,
    ),
    Family(
        "hunyuan-vl",
        "HunYuanVLForConditionalGeneration",
        conditional(
            "HunYuanVLForConditionalGeneration",
            "HunYuanVLConfig",
            text_config=SIZES | {"rope_parameters": STRETCHED | {"mrope_section": [8, 8, 8, 8]}},
            vision_config=VISION,
            tie_word_embeddings=True,
        ),
        embedding_scale=1 / 16,
        exceptions={"hunyuan_vl.rope.dimension_sections": SECTIONS},
    ),
    Family(
        "hunyuan-moe",
        "HunYuanMoEV1ForCausalLM",
        causal("HunYuanMoEV1Config", **SIZES, num_experts=4, moe_topk=[2, 2]),
        config={"moe_intermediate_size": [512, 512], "num_shared_expert": [1, 1]},
        dtype="BF16",
    ),
    Family(
        "hy3",
        "HYV3ForCausalLM",
        causal(
            "HYV3Config",
            **BPE,
            head_dim=64,
            moe_intermediate_size=256,
            num_experts=4,
            num_experts_per_tok=2,
            num_shared_experts=1,
            num_nextn_predict_layers=1,
        ),
        tensors=with_further_layer,
    ),
)
