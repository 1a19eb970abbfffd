"""ERNIE 4.5, dots.llm1, GroveMoE and the first Qwen."""

from __future__ import annotations

from tests.quantize.families.decoder_shapes import ATTENTION, HEAD_NORMS, NORMS, decoder, experts
from tests.quantize.families.family import Config, Family, Shape, causal
from tests.quantize.families.llama_like import SPM
from tests.quantize.families.qwen import BPE

EPSILON_NAME = "the converter writes layer_norm_epsilon under its own name, which llama.cpp doesn't read"
GATING = "of dots.llm1: the sigmoid, as its class has it; transformers doesn't write scoring_func"
QWEN = {
    "architectures": ["QWenLMHeadModel"],
    "model_type": "qwen",
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "kv_channels": 64,
    "seq_length": 512,
    "max_position_embeddings": 512,
    "layer_norm_epsilon": 1e-06,
    "rms_norm_eps": 1e-06,
    "no_bias": True,
    "rotary_emb_base": 20000,
    "rotary_pct": 1.0,
    "tie_word_embeddings": False,
    "use_dynamic_ntk": True,
    "vocab_size": 410,
}


def qwen() -> tuple[Config, dict[str, Shape]]:
    """Return Qwen 7B's names; `rms_norm_eps` is there for the converter alone."""
    shapes: dict[str, Shape] = {
        "transformer.wte.weight": (410, 256),
        "transformer.ln_f.weight": (256,),
        "lm_head.weight": (410, 256),
    }
    layer: dict[str, Shape] = {
        "attn.c_attn.weight": (768, 256),
        "attn.c_attn.bias": (768,),
        "attn.c_proj.weight": (256, 256),
        "ln_1.weight": (256,),
        "ln_2.weight": (256,),
        "mlp.w1.weight": (512, 256),
        "mlp.w2.weight": (512, 256),
        "mlp.c_proj.weight": (256, 512),
    }
    for at in range(2):
        shapes |= {f"transformer.h.{at}.{name}": shape for name, shape in layer.items()}
    return dict(QWEN), shapes


def grove() -> tuple[Config, dict[str, Shape]]:
    parts: dict[str, Shape] = {"mlp.gate.weight": (8, 256), "mlp.gate.expert_bias": (8,)}
    layer = ATTENTION | HEAD_NORMS | NORMS | parts
    layer |= experts(8, 256) | experts(4, 64, "mlp.chunk_experts")
    config = {
        **BPE,
        "architectures": ["GroveMoeForCausalLM"],
        "model_type": "grove_moe",
        "head_dim": 64,
        "hidden_act": "silu",
        "moe_intermediate_size": 256,
        "norm_topk_prob": True,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
    }
    return config, decoder(layer, layer)


FAMILIES: tuple[Family, ...] = (
    Family(
        "ernie4.5",
        "Ernie4_5ForCausalLM",
        causal("Ernie4_5Config", **SPM, head_dim=64, tie_word_embeddings=True),
        "spm",
        embedding_scale=1 / 16,
    ),
    Family(
        "ernie4.5-moe",
        "Ernie4_5_MoeForCausalLM",
        causal(
            "Ernie4_5_MoeConfig",
            **SPM,
            moe_intermediate_size=128,
            moe_k=2,
            moe_num_experts=4,
            moe_num_shared_experts=2,
            tie_word_embeddings=False,
        ),
        "spm",
        dtype="BF16",
    ),
    Family(
        "dots1",
        "Dots1ForCausalLM",
        causal(
            "Dots1Config",
            **BPE | {"num_key_value_heads": 4},
            moe_intermediate_size=256,
            n_routed_experts=4,
            n_shared_experts=2,
            num_experts_per_tok=2,
            first_k_dense_replace=1,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
        ),
        exceptions={"dots1.expert_gating_func": GATING},
    ),
    Family("grovemoe", "GroveMoeForCausalLM", shapes=grove),
    Family(
        "qwen1",
        "QWenLMHeadModel",
        shapes=qwen,
        exceptions={"qwen.attention.layer_norm_epsilon": EPSILON_NAME},
    ),
)
