"""GPT-2's generation: GPT-2, NeoX, Falcon, MPT, BLOOM, ChatGLM; and the GLMs after it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.pico import write_json
from tests.quantize.families.chatglm_tokenizer import write_chatglm3_tokenizer
from tests.quantize.families.family import BPE_VOCABULARY, Family, Shape, causal
from tests.quantize.families.published_shapes import (
    BPE,
    MPT,
    chatglm,
    mpt_with_everything,
    old_falcon,
)

WITHOUT_KV = {name: size for name, size in BPE.items() if name != "num_key_value_heads"}

NO_FILE_TYPE = "the converter forgets it in this family; it only names the type"
GPT2 = {"n_embd": 256, "n_head": 4, "n_layer": 2, "n_positions": 512, "n_ctx": 512}


def bare(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the names of the bare model."""
    return {name.removeprefix("transformer."): shape for name, shape in shapes.items()}


def glm_tokenizer(directory: Path) -> None:
    """Write special tokens as a GLM has them, with neither bos nor eos named."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (directory / name).read_text(encoding="utf-8")
        (directory / name).write_text(text.replace("<|im_start|>", "<|user|>"), encoding="utf-8")
    config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    del config["bos_token"], config["eos_token"]
    write_json(directory / "tokenizer_config.json", config)


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
)
