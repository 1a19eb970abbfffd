"""Llama's cousins: other norms, activations, windows and experts, described for the comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.quantize.families.family import BPE_VOCABULARY, PICO, Family, causal

BPE: dict[str, Any] = PICO | BPE_VOCABULARY
TIED_SCALE = 1 / 16
YARN = {
    "rope_type": "yarn",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
MINISTRAL = YARN | {"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}
PIXTRAL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}


def with_vision(name: str, config: str, text: str, fields: dict[str, Any], **outer: Any) -> Callable[[], Any]:
    """Return a maker of a model with a vision tower, of which only the names matter here."""

    def make() -> Any:
        import transformers

        inner = getattr(transformers, text)(**fields)
        whole = getattr(transformers, config)(text_config=inner, **outer)
        return getattr(transformers, name)(whole)

    return make


FAMILIES: tuple[Family, ...] = (
    Family(
        "olmo3",
        "Olmo3ForCausalLM",
        causal(
            "Olmo3Config",
            **BPE,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
            rope_parameters={
                "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0},
                "full_attention": YARN | {"attention_factor": 1.2079441541679836},
            },
        ),
        dtype="BF16",
    ),
    Family("olmo", "OlmoForCausalLM", causal("OlmoConfig", **BPE, clip_qkv=1.0)),
    Family(
        "olmoe",
        "OlmoeForCausalLM",
        causal("OlmoeConfig", **BPE | {"num_key_value_heads": 4}, num_experts=4, num_experts_per_tok=2),
        dtype="BF16",
    ),
    Family("seed-oss", "SeedOssForCausalLM", causal("SeedOssConfig", **BPE, head_dim=32), dtype="BF16"),
    Family("arcee", "ArceeForCausalLM", causal("ArceeConfig", **BPE, rope_parameters=YARN)),
    Family(
        "apertus",
        "ApertusForCausalLM",
        causal("ApertusConfig", **BPE, rope_parameters=LLAMA3 | {"rope_theta": 12000000.0}),
    ),
    Family(
        "ministral3",
        "Ministral3ForCausalLM",
        causal(
            "Ministral3Config",
            **BPE,
            head_dim=32,
            rope_parameters=MINISTRAL | {"original_max_position_embeddings": 16},
            tie_word_embeddings=True,
        ),
        embedding_scale=TIED_SCALE,
    ),
    Family(
        "mistral3",
        "Mistral3ForConditionalGeneration",
        with_vision(
            "Mistral3ForConditionalGeneration",
            "Mistral3Config",
            "MistralConfig",
            BPE | {"head_dim": 32},
            vision_config={"model_type": "pixtral", **PIXTRAL, "head_dim": 16},
            tie_word_embeddings=False,
        ),
        dtype="BF16",
    ),
    Family(
        "llama4",
        "Llama4ForConditionalGeneration",
        with_vision(
            "Llama4ForConditionalGeneration",
            "Llama4Config",
            "Llama4TextConfig",
            BPE
            | {
                "head_dim": 64,
                "num_hidden_layers": 4,
                "intermediate_size": 256,
                "intermediate_size_mlp": 512,
                "num_local_experts": 4,
                "interleave_moe_layer_step": 2,
                "rope_parameters": LLAMA3 | {"high_freq_factor": 1.0},
            },
            vision_config={
                **PIXTRAL,
                "vision_output_dim": 32,
                "projector_input_dim": 32,
                "projector_output_dim": 32,
            },
        ),
        dtype="BF16",
    ),
)
