"""Decoders unlike Llama: Gemma, Phi, Command-R, StableLM, StarCoder2, InternLM2, Baichuan."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tests.pico import write_json
from tests.pico_tokenizer import spm_piece
from tests.quantize.families.family import (
    BPE_VOCABULARY,
    PICO,
    SPM_VOCABULARY,
    Config,
    Family,
    Shape,
    causal,
)

BPE = PICO | BPE_VOCABULARY
SPM = PICO | SPM_VOCABULARY
SPM_TOKENS = 461
WINDOW = 16  # shorter than the prompt
NO_DENSE_SIZE = (
    "of Cohere 2's mixtures: the experts' size stands here where dense layers have none of their own"
)
COHERE_EXPERTS = {"head_dim": 64, "num_experts": 4, "num_experts_per_tok": 2, "sliding_window": WINDOW}
FACTORS = {
    "short_factor": [1.0 + 0.01 * i for i in range(32)],
    "long_factor": [1.05 + 0.7 * i for i in range(32)],
}


def gemma3_with_vision() -> Any:
    """Make a model with a vision tower, of which only the names matter here."""
    import transformers

    sizes = SPM | {"head_dim": 64, "query_pre_attn_scalar": 64}
    text = transformers.Gemma3TextConfig(**sizes, sliding_window=WINDOW)
    vision = transformers.SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return transformers.Gemma3ForConditionalGeneration(config)


def phi_moe_shapes() -> tuple[Config, dict[str, Shape]]:
    """Return the shapes of the authors' checkpoints; transformers renames tensors and stacks the experts."""
    hidden, ff, n_vocab, n_expert, n_layer = 256, 512, SPM_TOKENS, 4, 2
    mscale = math.sqrt(1 + math.log(512 / 128) / math.log(128))
    config = {
        "architectures": ["PhiMoEForCausalLM"],
        "model_type": "phimoe",
        **SPM,
        "hidden_act": "silu",
        "num_local_experts": n_expert,
        "num_experts_per_tok": 2,
        "attention_bias": True,
        "lm_head_bias": True,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "type": "longrope",
            **FACTORS,
            "short_mscale": mscale,
            "long_mscale": mscale,
            "original_max_position_embeddings": 128,
        },
        "original_max_position_embeddings": 128,
        "sliding_window": 512,
        "tie_word_embeddings": False,
    }
    outer = {"model.norm": (hidden,), "lm_head": (n_vocab, hidden)}
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (n_vocab, hidden), **with_biases(outer)}
    for layer in range(n_layer):
        prefix = f"model.layers.{layer}"
        moe = f"{prefix}.block_sparse_moe"
        biased = {
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (hidden // 2, hidden),
            "self_attn.v_proj": (hidden // 2, hidden),
            "self_attn.o_proj": (hidden, hidden),
        }
        shapes |= with_biases({f"{prefix}.{name}": shape for name, shape in biased.items()})
        shapes[f"{moe}.gate.weight"] = (n_expert, hidden)
        for expert in range(n_expert):
            shapes |= {
                f"{moe}.experts.{expert}.w1.weight": (ff, hidden),
                f"{moe}.experts.{expert}.w2.weight": (hidden, ff),
                f"{moe}.experts.{expert}.w3.weight": (ff, hidden),
            }
    return config, shapes


def with_biases(modules: dict[str, Shape]) -> dict[str, Shape]:
    return {
        f"{name}.{part}": shape if part == "weight" else shape[:1]
        for name, shape in modules.items()
        for part in ("weight", "bias")
    }


def internlm2_shapes() -> tuple[Config, dict[str, Shape]]:
    hidden, ff, n_vocab = 256, 512, SPM_TOKENS + 1
    config = {
        "architectures": ["InternLM2ForCausalLM"],
        "model_type": "internlm2",
        "hidden_act": "silu",
        **PICO,
        "vocab_size": n_vocab,
        "bias": False,
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    shapes: dict[str, Shape] = {"model.tok_embeddings.weight": (n_vocab, hidden)}
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.attention.wqkv.weight": (2 * hidden, hidden),
            f"{prefix}.attention.wo.weight": (hidden, hidden),
            f"{prefix}.feed_forward.w1.weight": (ff, hidden),
            f"{prefix}.feed_forward.w3.weight": (ff, hidden),
            f"{prefix}.feed_forward.w2.weight": (hidden, ff),
            f"{prefix}.attention_norm.weight": (hidden,),
            f"{prefix}.ffn_norm.weight": (hidden,),
        }
    return config, shapes | {"model.norm.weight": (hidden,), "output.weight": (n_vocab, hidden)}


def internlm2_tokenizer(directory: Path) -> None:
    """Write placeholder pieces that chat models rename, and one that is a zero byte; no added_tokens.json."""
    (directory / "added_tokens.json").unlink()
    with (directory / "tokenizer.model").open("ab") as file:
        for text in ("[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]", "\0"):
            file.write(spm_piece(text, 0.0, 1))


def baichuan_shapes() -> tuple[Config, dict[str, Shape]]:
    """Return the shapes of 32 layers, by which llama.cpp knows that positions are rotary."""
    hidden, ff, n_vocab, n_layer = 64, 96, SPM_TOKENS, 32
    config = {
        "architectures": ["BaichuanForCausalLM"],
        "model_type": "baichuan",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": ff,
        "num_hidden_layers": n_layer,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": False,
        "vocab_size": n_vocab,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (n_vocab, hidden)}
    for layer in range(n_layer):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.self_attn.W_pack.weight": (3 * hidden, hidden),
            f"{prefix}.self_attn.o_proj.weight": (hidden, hidden),
            f"{prefix}.mlp.gate_proj.weight": (ff, hidden),
            f"{prefix}.mlp.up_proj.weight": (ff, hidden),
            f"{prefix}.mlp.down_proj.weight": (hidden, ff),
            f"{prefix}.input_layernorm.weight": (hidden,),
            f"{prefix}.post_attention_layernorm.weight": (hidden,),
        }
    return config, shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (n_vocab, hidden)}


def special_tokens_in_tokenizer_json(directory: Path) -> None:
    """Name added tokens in tokenizer.json once more, as Phi-3 does; llama.cpp looks for <|endoftext|>."""
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    first = SPM_TOKENS - 2
    config["added_tokens_decoder"].pop(str(first + 1))
    write_json(path, config)
    added = [
        {"id": first + i, "content": text, "special": i == 1}
        for i, text in enumerate(("<|endoftext|>", "▁b"))
    ]
    write_json(directory / "tokenizer.json", {"added_tokens": added, "model": {}})


NAMED_END = "of InternLM2: an eos that files name ends an answer, too, where <|im_end|> takes its place"
MSCALE = (
    "of Phi-3.5-MoE: short_mscale of config.json; the converter has Phi-3's formula for it, another number"
)

FAMILIES: tuple[Family, ...] = (
    Family("gemma", "GemmaForCausalLM", causal("GemmaConfig", **SPM, head_dim=32), "spm"),
    Family(
        "gemma2",
        "Gemma2ForCausalLM",
        causal("Gemma2Config", **SPM, head_dim=32, sliding_window=WINDOW, query_pre_attn_scalar=32),
        "spm",
    ),
    Family(
        "gemma3",
        "Gemma3ForCausalLM",
        causal(
            "Gemma3TextConfig",
            **SPM | {"num_hidden_layers": 6},
            head_dim=32,
            sliding_window=WINDOW,
            query_pre_attn_scalar=32,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        ),
        "spm",
        dtype="BF16",
    ),
    Family("gemma3-vision", "Gemma3ForConditionalGeneration", gemma3_with_vision, "spm"),
    Family(
        "phi2",
        "PhiForCausalLM",
        causal("PhiConfig", **BPE | {"intermediate_size": 1024, "num_key_value_heads": 4}),
    ),
    Family(
        "phi3",
        "Phi3ForCausalLM",
        causal(
            "Phi3Config",
            **SPM | {"pad_token_id": 0},
            original_max_position_embeddings=16,
            sliding_window=2047,
            rope_parameters={"rope_type": "longrope", **FACTORS},
        ),
        "spm",
        edit=special_tokens_in_tokenizer_json,
    ),
    Family(
        "phi4-mini",
        "Phi3ForCausalLM",
        causal(
            "Phi3Config",
            **BPE,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 250000.0, "partial_rotary_factor": 0.75},
        ),
        edit=lambda directory: rename_tokenizer_class(directory, "GPT2Tokenizer"),
    ),
    Family(
        "phi-moe",
        "PhiMoEForCausalLM",
        tokenizer="spm",
        exceptions={"phimoe.rope.scaling.attn_factor": MSCALE},
        shapes=phi_moe_shapes,
    ),
    Family(
        "command-r", "CohereForCausalLM", causal("CohereConfig", **BPE), config={"model_max_length": 1024}
    ),
    Family(
        "cohere2",
        "Cohere2ForCausalLM",
        causal("Cohere2Config", **BPE | {"num_hidden_layers": 4}, sliding_window=WINDOW),
        config={"rotary_pct": 1.0},
    ),
    Family(
        "cohere2-moe",
        "Cohere2MoeForCausalLM",
        causal(
            "Cohere2MoeConfig",
            **BPE | {"num_hidden_layers": 4, "intermediate_size": 256},
            **COHERE_EXPERTS,
            num_shared_experts=2,
            expert_selection_fn="sigmoid",
            first_k_dense_replace=1,
            prefix_dense_intermediate_size=512,
            sliding_window_pattern=3,
        ),
    ),
    Family(
        "cohere2-moe-softmax",
        "Cohere2MoeForCausalLM",
        causal("Cohere2MoeConfig", **BPE, **COHERE_EXPERTS, rms_norm_eps=1e-5),
        exceptions={"cohere2moe.feed_forward_length": NO_DENSE_SIZE},
    ),
    Family("stablelm", "StableLmForCausalLM", causal("StableLmConfig", **BPE, use_qkv_bias=True)),
    Family(
        "stablelm-12b",
        "StableLmForCausalLM",
        causal("StableLmConfig", **BPE, qk_layernorm=True, use_parallel_residual=True),
    ),
    Family("starcoder2", "Starcoder2ForCausalLM", causal("Starcoder2Config", **BPE)),
    Family(
        "internlm2",
        "InternLM2ForCausalLM",
        tokenizer="spm",
        shapes=internlm2_shapes,
        edit=internlm2_tokenizer,
        exceptions={"tokenizer.ggml.eom_token_id": NAMED_END},
    ),
    Family("baichuan", "BaichuanForCausalLM", tokenizer="spm", shapes=baichuan_shapes),
)


def rename_tokenizer_class(directory: Path, name: str) -> None:
    """Rename the class, by which the converter tells Phi-4's byte-level tokenizer from Phi-3's."""
    path = directory / "tokenizer_config.json"
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": name})
