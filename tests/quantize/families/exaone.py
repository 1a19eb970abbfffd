"""EXAONE 3.5 to 4.5, and its mixture of experts."""

from __future__ import annotations

from typing import Any

from tests.quantize.families.decoder_shapes import ATTENTION, HEAD_NORMS, NORMS, decoder, gated
from tests.quantize.families.family import Config, Family, Shape, causal
from tests.quantize.families.llama_like import LLAMA3_ROPE
from tests.quantize.families.qwen import BPE

EPSILON_NAME = "the converter writes layer_norm_epsilon under its own name, which llama.cpp doesn't read"
GATING = "of K-EXAONE: the sigmoid, as its class has it, and without which llama.cpp doesn't load the file"
SHARED: dict[str, Shape] = {
    "mtp.fc.weight": (256, 512),
    "mtp.pre_fc_norm_embedding.weight": (256,),
    "mtp.pre_fc_norm_hidden.weight": (256,),
    "mtp.norm.weight": (256,),
}
NO_WINDOW = {"sliding_window": None, "layer_types": ["full_attention"] * 2}
EXAONE: Config = {
    "architectures": ["ExaoneForCausalLM"],
    "model_type": "exaone",
    "activation_function": "silu",
    "head_dim": 64,
    "hidden_size": 256,
    "intermediate_size": 512,
    "layer_norm_epsilon": 1e-05,
    "rms_norm_eps": 1e-05,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_layers": 2,
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "vocab_size": 410,
}


def exaone() -> tuple[Config, dict[str, Shape]]:
    """Return EXAONE 3.5's names; `rms_norm_eps` is there for the converter alone."""
    shapes: dict[str, Shape] = {
        "transformer.wte.weight": (410, 256),
        "transformer.ln_f.weight": (256,),
        "lm_head.weight": (410, 256),
    }
    layer: dict[str, Shape] = {
        "attn.attention.q_proj.weight": (256, 256),
        "attn.attention.k_proj.weight": (128, 256),
        "attn.attention.v_proj.weight": (128, 256),
        "attn.attention.out_proj.weight": (256, 256),
        "ln_1.weight": (256,),
        "ln_2.weight": (256,),
        "mlp.c_fc_0.weight": (512, 256),
        "mlp.c_fc_1.weight": (512, 256),
        "mlp.c_proj.weight": (256, 512),
    }
    for at in range(2):
        shapes |= {f"transformer.h.{at}.{name}": shape for name, shape in layer.items()}
    return dict(EXAONE), shapes


def exaone4_5() -> tuple[Config, dict[str, Shape]]:
    """Return EXAONE 4.5's names, with a layer that predicts further tokens."""
    norms: dict[str, Shape] = {
        "post_attention_layernorm.weight": (256,),
        "post_feedforward_layernorm.weight": (256,),
    }
    layer = ATTENTION | HEAD_NORMS | norms | gated()
    shapes = decoder(layer, layer, prefix="model.language_model.")
    text: dict[str, Any] = {
        **BPE,
        "hidden_act": "silu",
        "model_type": "exaone4",
        "num_nextn_predict_layers": 1,
        "rms_norm_eps": 1e-05,
        "rope_parameters": LLAMA3_ROPE,
        **NO_WINDOW,
        "tie_word_embeddings": False,
    }
    config = {
        "architectures": ["Exaone4_5_ForConditionalGeneration"],
        "model_type": "exaone4_5",
        "text_config": text,
        "tie_word_embeddings": False,
    }
    further = {f"mtp.layers.0.{name}": shape for name, shape in layer.items()}
    return config, shapes | SHARED | further | {"model.visual.merger.ln_q.weight": (32,)}


def with_further_layer(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the shapes with a layer that predicts further tokens; it has no experts."""
    layer = ATTENTION | HEAD_NORMS | NORMS | gated()
    return {**shapes, **SHARED, **{f"mtp.layers.0.{name}": shape for name, shape in layer.items()}}


FAMILIES: tuple[Family, ...] = (
    Family(
        "exaone",
        "ExaoneForCausalLM",
        shapes=exaone,
        exceptions={"exaone.attention.layer_norm_epsilon": EPSILON_NAME},
    ),
    Family(
        "exaone4",
        "Exaone4ForCausalLM",
        causal("Exaone4Config", **BPE, **NO_WINDOW, tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE),
        nulls=("sliding_window",),  # a missing one would mean 4,096
        embedding_scale=1 / 16,
    ),
    Family("exaone4.5", "Exaone4_5_ForConditionalGeneration", shapes=exaone4_5),
    Family(
        "exaone-moe",
        "ExaoneMoeForCausalLM",
        causal(
            "ExaoneMoeConfig",
            **BPE | {"num_hidden_layers": 4},
            head_dim=64,
            moe_intermediate_size=256,
            num_experts=4,
            num_experts_per_tok=2,
            num_nextn_predict_layers=1,
            num_shared_experts=1,
            sliding_window=8,
        ),
        tensors=with_further_layer,
        exceptions={"exaone-moe.expert_gating_func": GATING},
    ),
)
