"""Qwen's models that see or hear, their text models alone, and others of its line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.quantize.families.decoder_shapes import (
    ATTENTION,
    BIASES,
    HEAD_NORMS,
    NORMS,
    decoder,
    experts,
    gated,
)
from tests.quantize.families.family import BPE_VOCABULARY, PICO, Config, Family, Shape

BPE: dict[str, Any] = PICO | BPE_VOCABULARY
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256}
SECTIONS = {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1e6}
VISION = {"hidden_size": 32, "intermediate_size": 32, "depth": 1, "num_heads": 2, "out_hidden_size": 256}
AUDIO = {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}

OMNI_BOS = "of Qwen3-Omni: the tokenizer's own, where the converter puts <|im_end|>; neither is ever added"


def conditional(model: str, config: str, **sections: Any) -> Callable[[], Any]:
    """Return a maker of a random model of several parts, of which only the text model's sizes matter."""

    def make() -> Any:
        import transformers

        whole = getattr(transformers, config)(**sections)
        return getattr(transformers, model)(whole)

    return make


def with_transposed_experts(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the shapes with the experts of Qwen3-VL as they are published."""
    return {
        name: (shape[0], shape[2], shape[1]) if ".mlp.experts." in name else shape
        for name, shape in shapes.items()
    }


def kormo() -> tuple[Config, dict[str, Shape]]:
    norms: dict[str, Shape] = {"pre_attention_layernorm.weight": (256,), "pre_mlp_layernorm.weight": (256,)}
    config = {
        **BPE,
        "architectures": ["KORMoForCausalLM"],
        "model_type": "kormo",
        "attention_bias": False,
        "head_dim": 64,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
    }
    layer = ATTENTION | norms | gated()
    return config, decoder(layer, layer)


def omni(
    architecture: str, text: Config, layer: Mapping[str, Shape]
) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return a maker of a model that thinks, hears, sees and talks; only its thinker matters."""

    def make() -> tuple[Config, dict[str, Shape]]:
        others: dict[str, Shape] = {
            "thinker.visual.blocks.0.norm1.weight": (32,),
            "thinker.audio_tower.ln_post.weight": (32,),
            "talker.model.norm.weight": (32,),
        }
        model_type = "qwen3_omni_moe" if "Moe" in architecture else "qwen2_5_omni"
        config: Config = {
            "architectures": [architecture],
            "model_type": model_type,
            "thinker_config": {
                "model_type": f"{model_type}_thinker",
                "text_config": {**BPE, **text, "model_type": f"{model_type}_text"},
            },
        }
        whole = decoder(layer, layer, prefix="thinker.model.", head="thinker.lm_head.weight")
        return config, {**whole, **others}

    return make


FAMILIES: tuple[Family, ...] = (
    Family(
        "qwen2-vl",
        "Qwen2VLForConditionalGeneration",
        conditional(
            "Qwen2VLForConditionalGeneration",
            "Qwen2VLConfig",
            text_config=BPE | {"rope_parameters": SECTIONS},
            vision_config=VISION | {"embed_dim": 32, "hidden_size": 256},
        ),
        dtype="BF16",
    ),
    Family(
        "qwen2.5-vl",
        "Qwen2_5_VLForConditionalGeneration",
        conditional(
            "Qwen2_5_VLForConditionalGeneration",
            "Qwen2_5_VLConfig",
            text_config=BPE
            | {"rope_parameters": SECTIONS, "tie_word_embeddings": True, "rms_norm_eps": 1e-6},
            vision_config=VISION,
            tie_word_embeddings=True,
        ),
        embedding_scale=1 / 16,
    ),
    Family(
        "qwen2.5-omni",
        "Qwen2_5OmniModel",
        shapes=omni(
            "Qwen2_5OmniModel",
            {"rope_theta": 1e6, "rope_scaling": {"type": "default", "mrope_section": [8, 12, 12]}},
            ATTENTION | BIASES | NORMS | gated(),
        ),
    ),
    Family("kormo", "KORMoForCausalLM", shapes=kormo),
    Family(
        "qwen2-audio",
        "Qwen2AudioForConditionalGeneration",
        conditional(
            "Qwen2AudioForConditionalGeneration",
            "Qwen2AudioConfig",
            text_config=BPE | {"model_type": "qwen2", "rms_norm_eps": 1e-5},
            audio_config=AUDIO | {"model_type": "qwen2_audio_encoder"},
        ),
    ),
    Family(
        "qwen3-omni",
        "Qwen3OmniMoeForConditionalGeneration",
        shapes=omni(
            "Qwen3OmniMoeForConditionalGeneration",
            {
                **EXPERTS,
                "head_dim": 64,
                "norm_topk_prob": True,
                "rope_theta": 1e6,
                "rope_scaling": {
                    "rope_type": "default",
                    "mrope_interleaved": True,
                    "mrope_section": [8, 12, 12],
                },
            },
            ATTENTION | HEAD_NORMS | NORMS | experts(4, 256) | {"mlp.gate.weight": (4, 256)},
        ),
        exceptions={"tokenizer.ggml.bos_token_id": OMNI_BOS},
    ),
    Family(
        "qwen3-vl",
        "Qwen3VLForConditionalGeneration",
        conditional(
            "Qwen3VLForConditionalGeneration",
            "Qwen3VLConfig",
            text_config=BPE | {"rope_parameters": SECTIONS, "head_dim": 64},
            vision_config=VISION | {"deepstack_visual_indexes": [0]},
        ),
    ),
    Family(
        "qwen3-vl-moe",
        "Qwen3VLMoeForConditionalGeneration",
        conditional(
            "Qwen3VLMoeForConditionalGeneration",
            "Qwen3VLMoeConfig",
            text_config=BPE
            | EXPERTS
            | {"rope_parameters": SECTIONS, "head_dim": 64, "moe_intermediate_size": 512},
            vision_config=VISION | {"deepstack_visual_indexes": [0]},
        ),
        tensors=with_transposed_experts,
        dtype="BF16",
    ),
)
