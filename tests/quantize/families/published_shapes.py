"""Checkpoints that transformers can't make: configurations and tensors as their makers published them."""

from __future__ import annotations

from collections.abc import Callable

from tests.quantize.families.family import BPE_VOCABULARY, PICO, Config, Shape

BPE = PICO | BPE_VOCABULARY
SIZES = (256, 512, 2, 410)  # embedding, feed-forward, layers, vocabulary
MPT = {"d_model": 256, "n_heads": 4, "n_layers": 2, "max_seq_len": 512}
EXPERTS = {
    "n_routed_experts": 4,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
}


def old_falcon() -> tuple[Config, dict[str, Shape]]:
    """Return the shapes of Falcon 40B under the names of its first release."""
    n_embd, n_ff, n_layer, n_vocab = SIZES
    n_ff *= 2
    shapes: dict[str, Shape] = {
        "transformer.word_embeddings.weight": (n_vocab, n_embd),
        "transformer.ln_f.weight": (n_embd,),
        "transformer.ln_f.bias": (n_embd,),
        "lm_head.weight": (n_vocab, n_embd),
    }
    for layer in range(n_layer):
        prefix = f"transformer.h.{layer}"
        for norm in ("ln_attn", "ln_mlp"):
            shapes |= {f"{prefix}.{norm}.weight": (n_embd,), f"{prefix}.{norm}.bias": (n_embd,)}
        shapes[f"{prefix}.self_attention.query_key_value.weight"] = (n_embd + 2 * 128, n_embd)
        shapes[f"{prefix}.self_attention.dense.weight"] = (n_embd, n_embd)
        shapes[f"{prefix}.mlp.dense_h_to_4h.weight"] = (n_ff, n_embd)
        shapes[f"{prefix}.mlp.dense_4h_to_h.weight"] = (n_embd, n_ff)
    config = {
        "architectures": ["RWForCausalLM"],
        "model_type": "RefinedWeb",
        "hidden_size": n_embd,
        "n_head": 4,
        "n_head_kv": 2,
        "n_layer": n_layer,
        "layer_norm_epsilon": 1e-5,
        "parallel_attn": True,
        "alibi": False,
        "bias": False,
        **BPE_VOCABULARY,
    }
    return config, shapes


def mpt_with_everything() -> tuple[Config, dict[str, Shape]]:
    """Return the shapes of an MPT of its makers' code: biases, learned positions, no ALiBi."""
    n_embd, _, n_layer, n_vocab = SIZES
    layers: dict[str, Shape] = {
        "norm_1": (n_embd,),
        "norm_2": (n_embd,),
        "attn.Wqkv": (3 * n_embd, n_embd),
        "attn.out_proj": (n_embd, n_embd),
        "ffn.up_proj": (4 * n_embd, n_embd),
        "ffn.down_proj": (n_embd, 4 * n_embd),
    }
    shapes: dict[str, Shape] = {
        "transformer.wte.weight": (n_vocab, n_embd),
        "transformer.wpe.weight": (512, n_embd),
        "transformer.norm_f.weight": (n_embd,),
        "transformer.norm_f.bias": (n_embd,),
    }
    for layer in range(n_layer):
        for name, shape in layers.items():
            shapes[f"transformer.blocks.{layer}.{name}.weight"] = shape
            shapes[f"transformer.blocks.{layer}.{name}.bias"] = shape[:1]
    attention = {"attn_type": "multihead_attention", "alibi": False, "alibi_bias_max": 8, "qk_ln": False}
    config = {
        **MPT,
        **BPE_VOCABULARY,
        "architectures": ["MPTForCausalLM"],
        "model_type": "mpt",
        "expansion_ratio": 4,
        "no_bias": False,
        "learned_pos_emb": True,
        "attn_config": {**attention, "clip_qkv": None},
    }
    return config, shapes


def chatglm(**fields: object) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return a maker of ChatGLM 3's and GLM-4's configuration and names, those of their makers' code."""

    def make() -> tuple[Config, dict[str, Shape]]:
        n_embd, n_ff, n_layer, n_vocab = SIZES
        config: Config = {
            "architectures": ["ChatGLMModel"],
            "model_type": "chatglm",
            "hidden_size": n_embd,
            "ffn_hidden_size": n_ff,
            "num_layers": n_layer,
            "num_attention_heads": 4,
            "kv_channels": 64,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
            "add_qkv_bias": True,
            "add_bias_linear": False,
            "layernorm_epsilon": 1e-5,
            "rmsnorm": True,
            "post_layer_norm": True,
            "seq_length": 512,
            "rope_ratio": 50,
            "padded_vocab_size": n_vocab,
            **fields,
        }
        n_vocab = config["padded_vocab_size"]
        shapes: dict[str, Shape] = {
            "transformer.embedding.word_embeddings.weight": (n_vocab, n_embd),
            "transformer.rotary_pos_emb.inv_freq": (16,),
            "transformer.encoder.final_layernorm.weight": (n_embd,),
            "transformer.output_layer.weight": (n_vocab, n_embd),
        }
        for layer in range(n_layer):
            prefix = f"transformer.encoder.layers.{layer}"
            shapes |= {
                f"{prefix}.input_layernorm.weight": (n_embd,),
                f"{prefix}.post_attention_layernorm.weight": (n_embd,),
                f"{prefix}.self_attention.query_key_value.weight": (2 * n_embd, n_embd),
                f"{prefix}.self_attention.query_key_value.bias": (2 * n_embd,),
                f"{prefix}.self_attention.dense.weight": (n_embd, n_embd),
                f"{prefix}.mlp.dense_h_to_4h.weight": (2 * n_ff, n_embd),
                f"{prefix}.mlp.dense_4h_to_h.weight": (n_embd, n_ff),
            }
        return config, shapes

    return make


def deepseek_moe() -> tuple[Config, dict[str, Shape]]:
    """Return DeepSeek-MoE 16B's shapes: one dense layer, then experts."""
    n_embd, n_ff, n_layer, n_vocab = SIZES
    shapes: dict[str, Shape] = {
        "model.embed_tokens.weight": (n_vocab, n_embd),
        "model.norm.weight": (n_embd,),
        "lm_head.weight": (n_vocab, n_embd),
    }
    for layer in range(n_layer):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.{name}.weight": (n_embd,) for name in ("input_layernorm", "post_attention_layernorm")
        }
        for name, rows in {"q": n_embd, "k": 128, "v": 128, "o": n_embd}.items():
            shapes[f"{prefix}.self_attn.{name}_proj.weight"] = (rows, n_embd)
        parts = {"mlp": n_ff}
        if layer:
            shapes[f"{prefix}.mlp.gate.weight"] = (4, n_embd)
            parts = {f"mlp.experts.{i}": 256 for i in range(4)} | {"mlp.shared_experts": 512}
        for part, size in parts.items():
            shapes[f"{prefix}.{part}.gate_proj.weight"] = (size, n_embd)
            shapes[f"{prefix}.{part}.up_proj.weight"] = (size, n_embd)
            shapes[f"{prefix}.{part}.down_proj.weight"] = (n_embd, size)
    config = {
        **BPE,
        **EXPERTS,
        "architectures": ["DeepseekForCausalLM"],
        "model_type": "deepseek",
        "hidden_act": "silu",
        "first_k_dense_replace": 1,
        "moe_layer_freq": 1,
        "norm_topk_prob": False,
        "scoring_func": "softmax",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
    }
    return {key: value for key, value in config.items() if value is not None}, shapes
