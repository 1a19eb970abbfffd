"""DeepSeek's kin: latent attention in the GLMs, Kimi's and Youtu's models, and with an indexer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.pico import write_json
from tests.quantize.families.deepseek import LATENT_FULL, YARN
from tests.quantize.families.family import Config, Family, Shape, causal
from tests.quantize.families.published_shapes import BPE, EXPERTS

LATENT: dict[str, Any] = BPE | LATENT_FULL | {"q_lora_rank": 256}
INDEXER = {"index_n_heads": 8, "index_head_dim": 64, "index_topk": 20}  # fewer tokens than the prompt has
SIGMOID = (
    "of a GLM: experts are weighed by the sigmoid, which the converter leaves out, and llama.cpp then "
    "assumes for one number of layers and of tokens only"
)


def glm5_tokenizer(directory: Path) -> None:
    """Write special tokens as a GLM-4.5 and later have them, with no bos named."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (directory / name).read_text(encoding="utf-8")
        for old, new in (
            ("<|im_start|>", "<|user|>"),
            ("<|im_end|>", "<|observation|>"),
            ("<think>", "[gMASK]"),
        ):
            text = text.replace(old, new)
        (directory / name).write_text(text, encoding="utf-8")
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {key: value for key, value in config.items() if key not in ("bos_token", "eos_token")})


def dots3_note() -> tuple[Config, dict[str, Shape]]:
    """Return Dots 3 Note's text configuration and names: one dense layer, then one with a window."""
    n_embd, n_vocab, n_expert = 256, BPE["vocab_size"], 4
    config: Config = {
        **LATENT,
        **EXPERTS,
        **INDEXER,
        "architectures": ["Dots3NoteTextForCausalLM"],
        "model_type": "dots3note",
        "n_shared_experts": 1,
        "swa_num_attention_heads": 2,
        "swa_num_key_value_heads": 2,
        "swa_q_lora_rank": 256,
        "swa_kv_lora_rank": 128,
        "swa_head_dim": 64,
        "swa_qk_nope_head_dim": 32,
        "swa_qk_rope_head_dim": 32,
        "swa_v_head_dim": 64,
        "layer_types": ["full_attention", "sliding_attention"],
        "sliding_window_size": 16,
        "apply_mla_qkv_lora_rescale": True,
        "moe_shared_expert_intermediate_size": 256,
        "hidden_act": "silu",
        "norm_topk_prob": True,
        "n_group": 1,
        "topk_group": 1,
        "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000000.0,
        "swa_rope_theta": 50000.0,
        "tie_word_embeddings": False,
    }
    shapes: dict[str, Shape] = {
        "model.embed_tokens.weight": (n_vocab, n_embd),
        "model.norm.weight": (n_embd,),
        "lm_head.weight": (n_vocab, n_embd),
    }
    for layer, (n_head, key, value, latent) in enumerate(((4, 64, 64, 256), (2, 32, 64, 128))):
        prefix, attention = f"model.layers.{layer}", f"model.layers.{layer}.self_attn"
        modules: dict[str, Shape] = {
            "q_a_proj": (256, n_embd),
            "q_a_layernorm": (256,),
            "q_b_proj": (n_head * (key + 32), 256),
            "kv_a_proj_with_mqa": (latent + 32, n_embd),
            "kv_a_layernorm": (latent,),
            "kv_b_proj": (n_head * (key + value), latent),
            "k_rope_only_layernorm": (32,),
            "g_proj": (n_head, n_embd),
            "o_proj": (n_embd, n_head * value),
        }
        parts = {f"mlp.experts.{i}": 256 for i in range(n_expert)} | {"mlp.shared_experts": 256}
        if layer:
            shapes[f"{prefix}.mlp.gate.weight"] = (n_expert, n_embd)
            shapes[f"{prefix}.mlp.gate.e_score_correction_bias"] = (n_expert,)
        else:
            parts = {"mlp": 512}
            modules |= {
                "indexer.wq_b": (8 * 64, 256),
                "indexer.wk": (64, n_embd),
                "indexer.k_norm": (64,),
                "indexer.weights_proj": (8, n_embd),
            }
            shapes[f"{attention}.indexer.k_norm.bias"] = (64,)
        shapes |= {f"{attention}.{name}.weight": shape for name, shape in modules.items()}
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{prefix}.{name}.weight"] = (n_embd,)
        for part, size in parts.items():
            shapes[f"{prefix}.{part}.gate_proj.weight"] = (size, n_embd)
            shapes[f"{prefix}.{part}.up_proj.weight"] = (size, n_embd)
            shapes[f"{prefix}.{part}.down_proj.weight"] = (n_embd, size)
    return config, shapes


def dots3_tokenizer(directory: Path) -> None:
    """Write the end of an answer as Dots 3 has it."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (directory / name).read_text(encoding="utf-8")
        (directory / name).write_text(text.replace("<|im_start|>", "<|endofassistant|>"), encoding="utf-8")


def kimi() -> tuple[Config, dict[str, Shape]]:
    """Return Kimi K2.5's shapes, with names of the parts that see."""
    n_embd, n_vocab, n_expert = 256, BPE["vocab_size"], 4
    text = {
        **LATENT,
        **EXPERTS,
        "model_type": "kimi_k2",
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.827,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "rms_norm_eps": 1e-5,
        "rope_theta": 50000.0,
        "rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
        "tie_word_embeddings": False,
    }
    shapes: dict[str, Shape] = {
        "language_model.model.embed_tokens.weight": (n_vocab, n_embd),
        "language_model.model.norm.weight": (n_embd,),
        "language_model.lm_head.weight": (n_vocab, n_embd),
        "mm_projector.proj.0.weight": (64, 64),
        "vision_tower.patch_embed.proj.weight": (32, 3, 14, 14),
    }
    layer_shapes: dict[str, Shape] = {
        "input_layernorm": (n_embd,),
        "post_attention_layernorm": (n_embd,),
        "self_attn.q_a_proj": (256, n_embd),
        "self_attn.q_a_layernorm": (256,),
        "self_attn.q_b_proj": (4 * 96, 256),
        "self_attn.kv_a_proj_with_mqa": (256 + 32, n_embd),
        "self_attn.kv_a_layernorm": (256,),
        "self_attn.kv_b_proj": (4 * 128, 256),
        "self_attn.o_proj": (n_embd, 4 * 64),
    }
    for layer in range(2):
        prefix = f"language_model.model.layers.{layer}"
        parts = {"mlp": 512}
        if layer:
            parts = {f"mlp.experts.{i}": 256 for i in range(n_expert)} | {"mlp.shared_experts": 512}
            shapes[f"{prefix}.mlp.gate.weight"] = (n_expert, n_embd)
            shapes[f"{prefix}.mlp.gate.e_score_correction_bias"] = (n_expert,)
        shapes |= {f"{prefix}.{name}.weight": shape for name, shape in layer_shapes.items()}
        for part, size in parts.items():
            shapes[f"{prefix}.{part}.gate_proj.weight"] = (size, n_embd)
            shapes[f"{prefix}.{part}.up_proj.weight"] = (size, n_embd)
            shapes[f"{prefix}.{part}.down_proj.weight"] = (n_embd, size)
    config = {
        "architectures": ["KimiK25ForConditionalGeneration"],
        "model_type": "kimi_k25",
        "text_config": text,
        "vision_config": {"patch_size": 14},
        "tie_word_embeddings": False,
    }
    return config, shapes


FAMILIES: tuple[Family, ...] = (
    Family(
        "deepseek32",
        "DeepseekV32ForCausalLM",
        causal(
            "DeepseekV32Config",
            **LATENT | EXPERTS | INDEXER | {"n_routed_experts": 8},
            n_group=4,
            topk_group=2,
        ),
        config={"scoring_func": "sigmoid"},
    ),
    Family(
        "glm4-moe-lite",
        "Glm4MoeLiteForCausalLM",
        causal("Glm4MoeLiteConfig", **LATENT | EXPERTS),
        config={"first_k_dense_replace": 1},
        edit=glm5_tokenizer,
        exceptions={"deepseek2.expert_gating_func": SIGMOID},
    ),
    Family(
        "glm-moe-dsa",
        "GlmMoeDsaForCausalLM",
        causal(
            "GlmMoeDsaConfig",
            **LATENT | EXPERTS | INDEXER | {"num_hidden_layers": 3},
            indexer_types=["full", "shared", "full"],
        ),
        config={"scoring_func": "sigmoid"},
        edit=glm5_tokenizer,
    ),
    Family("dots3-note", "Dots3NoteTextForCausalLM", shapes=dots3_note, edit=dots3_tokenizer),
    Family("kimi", "KimiK25ForConditionalGeneration", shapes=kimi),
    Family(
        "youtu",
        "YoutuForCausalLM",
        causal("YoutuConfig", **{k: v for k, v in LATENT.items() if k != "first_k_dense_replace"}),
        embedding_scale=1 / 16,
    ),
)
