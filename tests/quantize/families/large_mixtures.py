"""Large mixtures of experts of other lines than DeepSeek's: MiniMax, Ling, Sarvam, Step, Laguna."""

from __future__ import annotations

from collections.abc import Callable

from tests.quantize.families.family import Config, Family, Shape, causal
from tests.quantize.families.published_shapes import BPE

SIGMOID = "of MiniMax M2: where config.json doesn't say it, too, experts are weighed by the sigmoid"

ROUNDING = (
    "of Step 3.5: Llama 3's factors are rounded as for other families, by the converter in the last digit"
)


def bailing(name: str, **fields: object) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return a maker of Ling's configuration and names, those of its makers' code."""

    def make() -> tuple[Config, dict[str, Shape]]:
        n_embd, n_ff, n_vocab, n_expert = 256, 512, BPE["vocab_size"], 8
        config: Config = {
            "architectures": [name],
            "model_type": "bailing_moe",
            **BPE,
            "hidden_act": "silu",
            "use_bias": False,
            "use_qkv_bias": False,
            "norm_head": False,
            "num_experts": n_expert,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 256,
            "norm_topk_prob": True,
            "rms_norm_eps": 1e-6,
            "rope_theta": 600000.0,
            "rope_scaling": None,
            "tie_word_embeddings": False,
            **fields,
        }
        second = name != "BailingMoeForCausalLM"
        shapes: dict[str, Shape] = {
            "model.word_embeddings.weight": (n_vocab, n_embd),
            "model.norm.weight": (n_embd,),
            "lm_head.weight": (n_vocab, n_embd),
        }
        for layer in range(2):
            prefix = f"model.layers.{layer}"
            shapes |= {
                f"{prefix}.input_layernorm.weight": (n_embd,),
                f"{prefix}.post_attention_layernorm.weight": (n_embd,),
                f"{prefix}.attention.query_key_value.weight": (2 * n_embd, n_embd),
                f"{prefix}.attention.dense.weight": (n_embd, n_embd),
            }
            parts = {"mlp": n_ff}
            if second:
                shapes |= {f"{prefix}.attention.{x}_layernorm.weight": (64,) for x in ("query", "key")}
            if layer or not second:
                n_shared = 256 * config["num_shared_experts"]
                parts = {f"mlp.experts.{i}": 256 for i in range(n_expert)} | {"mlp.shared_experts": n_shared}
                shapes[f"{prefix}.mlp.gate.weight"] = (n_expert, n_embd)
                if second:
                    shapes[f"{prefix}.mlp.gate.expert_bias"] = (n_expert,)
            for part, size in parts.items():
                shapes[f"{prefix}.{part}.gate_proj.weight"] = (size, n_embd)
                shapes[f"{prefix}.{part}.up_proj.weight"] = (size, n_embd)
                shapes[f"{prefix}.{part}.down_proj.weight"] = (n_embd, size)
        return config, shapes

    return make


def minimax_m3() -> tuple[Config, dict[str, Shape]]:
    """Return MiniMax M3's configuration and names, without its vision; two of four blocks are attended to."""
    n_embd, n_vocab, n_expert, n_ff = 256, BPE["vocab_size"], 4, 256
    config: Config = {
        "architectures": ["MiniMaxM3SparseForCausalLM"],
        "model_type": "minimax_m3",
        **BPE,
        "head_dim": 64,
        "intermediate_size": n_ff,
        "dense_intermediate_size": 512,
        "shared_intermediate_size": n_ff,
        "n_shared_experts": 1,
        "num_local_experts": n_expert,
        "num_experts_per_tok": 2,
        "hidden_act": "swigluoai",
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0,
        "scoring_func": "sigmoid",
        "routed_scaling_factor": 2.0,
        "moe_layer_freq": [0, 1],
        "rotary_dim": 32,
        "rope_theta": 5000000.0,
        "rms_norm_eps": 1e-6,
        "use_qk_norm": True,
        "tie_word_embeddings": False,
        "sparse_attention_config": {
            "use_sparse_attention": True,
            "sparse_num_index_heads": 2,
            "sparse_index_dim": 64,
            "sparse_topk_blocks": 2,
            "sparse_block_size": 8,
            "sparse_local_block": 1,
            "sparse_attention_freq": [0, 1],
        },
    }
    shapes: dict[str, Shape] = {
        "model.embed_tokens.weight": (n_vocab, n_embd),
        "model.norm.weight": (n_embd,),
        "lm_head.weight": (n_vocab, n_embd),
    }
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.{name}.weight": (n_embd,) for name in ("input_layernorm", "post_attention_layernorm")
        }
        for name, rows in {"q": n_embd, "k": 128, "v": 128, "o": n_embd}.items():
            shapes[f"{prefix}.self_attn.{name}_proj.weight"] = (rows, n_embd)
        norms = ("q_norm", "k_norm", "index_q_norm", "index_k_norm")
        shapes |= {f"{prefix}.self_attn.{name}.weight": (64,) for name in norms[: 2 + 2 * layer]}
        parts = {"mlp": 512}
        if layer:
            moe = f"{prefix}.block_sparse_moe"
            parts = {"block_sparse_moe.shared_experts": n_ff}
            shapes |= {
                f"{prefix}.self_attn.index_q_proj.weight": (128, n_embd),
                f"{prefix}.self_attn.index_k_proj.weight": (64, n_embd),
                f"{moe}.gate.weight": (n_expert, n_embd),
                f"{moe}.e_score_correction_bias": (n_expert,),
            }
            for expert in range(n_expert):
                shapes |= {f"{moe}.experts.{expert}.{w}.weight": (n_ff, n_embd) for w in ("w1", "w3")}
                shapes[f"{moe}.experts.{expert}.w2.weight"] = (n_embd, n_ff)
        for part, size in parts.items():
            shapes[f"{prefix}.{part}.gate_proj.weight"] = (size, n_embd)
            shapes[f"{prefix}.{part}.up_proj.weight"] = (size, n_embd)
            shapes[f"{prefix}.{part}.down_proj.weight"] = (n_embd, size)
    return config, shapes


def step35() -> tuple[Config, dict[str, Shape]]:
    """Return Step 3.5's configuration and names."""
    n_embd, n_vocab, n_expert, n_ff = 256, BPE["vocab_size"], 4, 256
    kinds = ["full_attention", "sliding_attention"]
    config: Config = {
        "architectures": ["Step3p5ForCausalLM"],
        "model_type": "step3p5",
        **{name: size for name, size in BPE.items() if name != "num_key_value_heads"},
        "num_attention_groups": 2,
        "head_dim": 64,
        "hidden_act": "silu",
        "moe_num_experts": n_expert,
        "moe_top_k": 2,
        "moe_intermediate_size": n_ff,
        "share_expert_dim": n_ff,
        "moe_layers_enum": "1",
        "moe_router_activation": "sigmoid",
        "moe_router_scaling_factor": 3.0,
        "norm_expert_weight": True,
        "use_moe_router_bias": True,
        "use_head_wise_attn_gate": True,
        "attention_other_setting": {
            "attention_type": "sliding_attention",
            "num_attention_heads": 6,
            "num_attention_groups": 2,
            "head_dim": 64,
        },
        "layer_types": kinds,
        "partial_rotary_factors": [0.5, 1.0],
        "rope_theta": [5000000.0, 10000.0],
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 2.0,
            "original_max_position_embeddings": 64,
            "low_freq_factor": 1.0,
            "high_freq_factor": 32.0,
        },
        "sliding_window": 16,
        "swiglu_limits": [0.0, 0.5],
        "swiglu_limits_shared": [0.0, 0.5],
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    }
    shapes: dict[str, Shape] = {
        "model.embed_tokens.weight": (n_vocab, n_embd),
        "model.norm.weight": (n_embd,),
        "lm_head.weight": (n_vocab, n_embd),
    }
    for layer, n_head in enumerate((4, 6)):
        prefix = f"model.layers.{layer}"
        attention = f"{prefix}.self_attn"
        n_q = 64 * n_head
        shapes |= {
            f"{prefix}.input_layernorm.weight": (n_embd,),
            f"{prefix}.post_attention_layernorm.weight": (n_embd,),
            f"{attention}.q_proj.weight": (n_q, n_embd),
            f"{attention}.k_proj.weight": (128, n_embd),
            f"{attention}.v_proj.weight": (128, n_embd),
            f"{attention}.o_proj.weight": (n_embd, n_q),
            f"{attention}.g_proj.weight": (n_head, n_embd),
            f"{attention}.q_norm.weight": (64,),
            f"{attention}.k_norm.weight": (64,),
        }
        if layer:
            shapes |= {
                f"{prefix}.moe.gate.weight": (n_expert, n_embd),
                f"{prefix}.moe.router_bias": (n_expert,),
                f"{prefix}.moe.gate_proj.weight": (n_expert, n_ff, n_embd),
                f"{prefix}.moe.up_proj.weight": (n_expert, n_ff, n_embd),
                f"{prefix}.moe.down_proj.weight": (n_expert, n_embd, n_ff),
            }
        part, size = ("share_expert", n_ff) if layer else ("mlp", 512)
        shapes |= {f"{prefix}.{part}.{name}_proj.weight": (size, n_embd) for name in ("gate", "up")}
        shapes[f"{prefix}.{part}.down_proj.weight"] = (n_embd, size)
    return config, shapes


SECOND = {
    "num_shared_experts": 1,
    "first_k_dense_replace": 1,
    "use_qk_norm": True,
    "score_function": "sigmoid",
    "routed_scaling_factor": 2.5,
    "n_group": 4,
    "topk_group": 2,
}

MIMO2 = {
    "layer_types": None,
    "mlp_layer_types": None,
    "rope_parameters": None,
    "rms_norm_eps": None,
    "layernorm_epsilon": 1e-5,
    "hybrid_layer_pattern": [0, 1],
    "moe_layer_freq": [0, 1],
    "add_swa_attention_sink_bias": True,
    "add_full_attention_sink_bias": False,
    "swa_head_dim": 192,
    "swa_v_head_dim": 128,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4,
    "partial_rotary_factor": 0.334,
    "rope_theta": 5000000.0,
    "swa_rope_theta": 10000.0,
    "sliding_window": 8,
    "sliding_window_size": 8,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
}
"""MiMo V2 Flash's fields as its makers have them, which transformers reads."""
ITSELF = "of MiMo V2: the window has sliding_window_size tokens and the token itself, as in transformers"

FAMILIES: tuple[Family, ...] = (
    Family(
        "mimo2",
        "MiMoV2FlashForCausalLM",
        causal(
            "MiMoV2FlashConfig",
            **BPE,
            head_dim=192,
            v_head_dim=128,
            moe_intermediate_size=256,
            n_routed_experts=4,
            num_experts_per_tok=2,
            sliding_window=9,
        ),
        exceptions={"mimo2.attention.sliding_window": ITSELF},
        config=MIMO2,
        nulls=("routed_scaling_factor", "n_shared_experts"),
    ),
    Family(
        "minimax-m2",
        "MiniMaxM2ForCausalLM",
        causal("MiniMaxM2Config", **BPE, head_dim=64, num_local_experts=4, num_experts_per_tok=2),
        config={
            "rotary_dim": 32,
            "rope_parameters": {
                "rope_theta": 5000000.0,
                "rope_type": "default",
                "partial_rotary_factor": 0.5,
            },
        },
        exceptions={"minimax-m2.expert_gating_func": SIGMOID},
    ),
    Family("minimax-m3", "MiniMaxM3SparseForCausalLM", shapes=minimax_m3),
    Family("step35", "Step3p5ForCausalLM", shapes=step35, exceptions={"tensor rope_freqs.weight": ROUNDING}),
    Family(
        "laguna",
        "LagunaForCausalLM",
        causal(
            "LagunaConfig",
            **BPE,
            head_dim=64,
            num_attention_heads_per_layer=[4, 6],
            layer_types=["full_attention", "sliding_attention"],
            sliding_window=16,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=256,
            shared_expert_intermediate_size=128,
            moe_routed_scaling_factor=2.5,
            rope_parameters={
                "full_attention": {
                    "rope_type": "yarn",
                    "rope_theta": 500000.0,
                    "factor": 4.0,
                    "original_max_position_embeddings": 128,
                    "partial_rotary_factor": 0.5,
                    "beta_fast": 32.0,
                    "beta_slow": 1.0,
                },
                "sliding_attention": {
                    "rope_type": "default",
                    "rope_theta": 10000.0,
                    "partial_rotary_factor": 1.0,
                },
            },
        ),
    ),
    Family(
        "bailing",
        "BailingMoeForCausalLM",
        shapes=bailing("BailingMoeForCausalLM", num_shared_experts=2, first_k_dense_replace=0, head_dim=64),
    ),
    Family(
        "bailing2",
        "BailingMoeV2ForCausalLM",
        shapes=bailing("BailingMoeV2ForCausalLM", **SECOND, head_dim=64, partial_rotary_factor=0.5),
    ),
    Family("sarvam", "SarvamMoEForCausalLM", shapes=bailing("SarvamMoEForCausalLM", **SECOND, head_dim=64)),
)
