"""GPT-2's generation (NeoX, Falcon, MPT, BLOOM), the GLMs, and DeepSeek."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.pico import write_json
from tests.quantize.families.chatglm_tokenizer import write_chatglm3_tokenizer
from tests.quantize.families.family import BPE_VOCABULARY, Family, Shape, causal
from tests.quantize.families.published_shapes import (
    BPE,
    EXPERTS,
    MPT,
    chatglm,
    deepseek_moe,
    mpt_with_everything,
    old_falcon,
)

WITHOUT_KV = {name: size for name, size in BPE.items() if name != "num_key_value_heads"}

NO_FILE_TYPE = "the converter forgets it in this family; it only names the type"
GPT2 = {"n_embd": 256, "n_head": 4, "n_layer": 2, "n_positions": 512, "n_ctx": 512}
LATENT = {"qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64, "kv_lora_rank": 256}
LATENT_FULL = {**LATENT, "num_key_value_heads": 4, "first_k_dense_replace": 1}
YARN = {
    "type": "yarn",
    "factor": 40,
    "original_max_position_embeddings": 128,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 0.707,
    "mscale_all_dim": 0.707,
}


def bare(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Names as the bare model has them."""
    return {name.removeprefix("transformer."): shape for name, shape in shapes.items()}


def with_further_layer(n_layer: int) -> Callable[[dict[str, Shape]], dict[str, Shape]]:
    """A layer more, which predicts further tokens."""

    def change(shapes: dict[str, Shape]) -> dict[str, Shape]:
        last = f"model.layers.{n_layer - 1}."
        more = {
            name.replace(last, f"model.layers.{n_layer}."): shape
            for name, shape in shapes.items()
            if name.startswith(last)
        }
        return {**shapes, **more, f"model.layers.{n_layer}.eh_proj.weight": (256, 512)}

    return change


def glm_tokenizer(directory: Path) -> None:
    """Special tokens as a GLM has them, and neither bos nor eos named."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (directory / name).read_text(encoding="utf-8")
        (directory / name).write_text(text.replace("<|im_start|>", "<|user|>"), encoding="utf-8")
    config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    del config["bos_token"], config["eos_token"]
    write_json(directory / "tokenizer_config.json", config)


def without_query_latent(directory: Path) -> None:
    """As DeepSeek-V2-Lite says it: null, where a missing field would mean 1,536."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    write_json(directory / "config.json", {**config, "q_lora_rank": None})


GLM_EXCEPTIONS = {
    "chatglm.context_length": "the converter knows seq_length only and writes the embedding's size instead",
    "chatglm.attention.layer_norm_rms_epsilon": "the converter knows layernorm_epsilon only and writes 1e-5",
}
GLM_CONFIG = {"bos_token_id": None, "eos_token_id": None}

FAMILIES: tuple[Family, ...] = (
    Family("gpt2", "GPT2LMHeadModel", causal("GPT2Config", **GPT2, **BPE_VOCABULARY)),
    Family("gpt2-bare", "GPT2LMHeadModel", causal("GPT2Config", **GPT2, **BPE_VOCABULARY), tensors=bare),
    Family(
        "gptneox",
        "GPTNeoXForCausalLM",
        causal("GPTNeoXConfig", **WITHOUT_KV),
        exceptions={"general.file_type": NO_FILE_TYPE},
        config={"rotary_pct": 0.25},
    ),
    Family(
        "gptneox-sequential",
        "GPTNeoXForCausalLM",
        causal("GPTNeoXConfig", **WITHOUT_KV, use_parallel_residual=False, hidden_act="gelu_new"),
        exceptions={"general.file_type": NO_FILE_TYPE},
        config={"rotary_pct": 0.5, "rope_parameters": None},
    ),
    Family(
        "falcon",
        "FalconForCausalLM",
        causal("FalconConfig", **WITHOUT_KV | {"max_position_embeddings": 2048}, num_kv_heads=1),
    ),
    Family(
        "falcon-grouped",
        "FalconForCausalLM",
        causal(
            "FalconConfig",
            **WITHOUT_KV | {"max_position_embeddings": 2048},
            num_kv_heads=2,
            new_decoder_architecture=True,
        ),
    ),
    Family(
        "falcon-one-norm",
        "FalconForCausalLM",
        causal(
            "FalconConfig",
            **WITHOUT_KV | {"max_position_embeddings": 2048},
            num_kv_heads=2,
            new_decoder_architecture=True,
            num_ln_in_parallel_attn=1,
            tie_word_embeddings=False,
        ),
    ),
    Family("falcon-old-names", "RWForCausalLM", shapes=old_falcon),
    Family(
        "mpt",
        "MptForCausalLM",
        causal("MptConfig", **MPT, **BPE_VOCABULARY, attn_config={"clip_qkv": 0.5}),
        exceptions={"general.file_type": NO_FILE_TYPE},
        config={"architectures": ["MPTForCausalLM"]},
    ),
    Family(
        "mpt-biased",
        "MPTForCausalLM",
        shapes=mpt_with_everything,
        exceptions={"general.file_type": NO_FILE_TYPE},
    ),
    Family(
        "bloom",
        "BloomForCausalLM",
        causal("BloomConfig", hidden_size=256, n_head=4, n_layer=2, seq_length=512, **BPE_VOCABULARY),
        tensors=bare,
    ),
    Family(
        "glm",
        "GlmForCausalLM",
        causal("GlmConfig", **BPE, head_dim=64),
        exceptions=GLM_EXCEPTIONS,
        config=GLM_CONFIG,
        edit=glm_tokenizer,
    ),
    Family(
        "glm4",
        "Glm4ForCausalLM",
        causal("Glm4Config", **BPE, head_dim=32),
        config=GLM_CONFIG,
        edit=glm_tokenizer,
    ),
    Family(
        "chatglm3",
        "ChatGLMModel",
        shapes=chatglm(
            _name_or_path="THUDM/chatglm3-6b",
            padded_vocab_size=512,
            eos_token_id=2,
            pad_token_id=0,
        ),
        tokenizer="spm",
        edit=write_chatglm3_tokenizer,
    ),
    Family(
        "chatglm-bpe",
        "ChatGLMModel",
        shapes=chatglm(vocab_size=410),
        edit=glm_tokenizer,
    ),
    Family("deepseek", "DeepseekForCausalLM", shapes=deepseek_moe),
    Family(
        "deepseek2",
        "DeepseekV2ForCausalLM",
        causal("DeepseekV2Config", **BPE | LATENT_FULL | EXPERTS, q_lora_rank=256, routed_scaling_factor=1.0),
    ),
    Family(
        "deepseek2-lite",
        "DeepseekV2ForCausalLM",
        causal(
            "DeepseekV2Config",
            **BPE | LATENT_FULL | EXPERTS | {"num_hidden_layers": 27, "max_position_embeddings": 5120},
            q_lora_rank=None,
            rope_theta=10000.0,
            rope_scaling=YARN,
        ),
        config={"scoring_func": "softmax", "n_group": 1, "topk_group": 1, "topk_method": "greedy"},
        edit=without_query_latent,
    ),
    Family(
        "deepseek3",
        "DeepseekV3ForCausalLM",
        causal(
            "DeepseekV3Config",
            **BPE | LATENT_FULL | EXPERTS | {"n_routed_experts": 8},
            q_lora_rank=256,
            n_group=4,
            topk_group=2,
        ),
        config={"scoring_func": "sigmoid"},
        tensors=with_further_layer(2),
    ),
)
