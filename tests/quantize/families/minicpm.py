"""MiniCPM, in its three shapes."""

from __future__ import annotations

from collections.abc import Callable

from tests.quantize.families.family import PICO, SPM_VOCABULARY, Config, Family, Shape, causal

SPM = PICO | SPM_VOCABULARY
FACTORS = {
    "short_factor": [1.0 + 0.01 * i for i in range(32)],
    "long_factor": [1.05 + 0.7 * i for i in range(32)],
}
LATENT = {"kv_lora_rank": 64, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": FACTORS["short_factor"][:16],
    "long_factor": FACTORS["long_factor"][:16],
    "original_max_position_embeddings": 512,
}


def minicpm(**fields: object) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return a maker of MiniCPM's configuration and names, those of its makers' code."""

    def make() -> tuple[Config, dict[str, Shape]]:
        config: Config = {
            "architectures": ["MiniCPMForCausalLM"],
            "model_type": "minicpm",
            **SPM,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "scale_emb": 12,
            "scale_depth": 1.4,
            "dim_model_base": 128,
            **fields,
        }
        return config, {
            "model.embed_tokens.weight": (config["vocab_size"], 256),
            "model.norm.weight": (256,),
            **layers({"gate": 512, "up": 512}, {"q": (256, 256), "k": (128, 256), "v": (128, 256)}),
        }

    return make


def layers(feed_forward: dict[str, int], attention: dict[str, Shape]) -> dict[str, Shape]:
    """Return the shapes of two layers."""
    shapes: dict[str, Shape] = {}
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.input_layernorm.weight": (256,),
            f"{prefix}.post_attention_layernorm.weight": (256,),
            f"{prefix}.self_attn.o_proj.weight": (256, 256),
            f"{prefix}.mlp.down_proj.weight": (256, 512),
        }
        shapes |= {f"{prefix}.mlp.{part}_proj.weight": (n, 256) for part, n in feed_forward.items()}
        shapes |= {f"{prefix}.self_attn.{part}_proj.weight": shape for part, shape in attention.items()}
    return shapes


FAMILIES: tuple[Family, ...] = (
    Family(
        "minicpm",
        "MiniCPMForCausalLM",
        shapes=minicpm(rope_theta=10000.0, tie_word_embeddings=True),
        tokenizer="spm",
        embedding_scale=1 / 16,
    ),
    Family(
        "minicpm4",
        "MiniCPMForCausalLM",
        shapes=minicpm(
            rope_theta=10000.0,
            rope_scaling={"rope_type": "longrope", "original_max_position_embeddings": 512, **FACTORS},
            tie_word_embeddings=True,
        ),
        tokenizer="spm",
        embedding_scale=1 / 16,
    ),
    Family(
        "minicpm3",
        "MiniCPM3ForCausalLM",
        causal(
            "MiniCPM3Config",
            **SPM | LATENT | {"num_key_value_heads": 4, "q_lora_rank": 128},
            rope_parameters={**LONGROPE, "rope_theta": 10000.0},
        ),
        tokenizer="spm",
        embedding_scale=1 / 16,
    ),
)
