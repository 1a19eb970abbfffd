"""Gemma 3n and 4."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.pico import write_json
from tests.pico_tokenizer import TEXT, learn_merges
from tests.quantize.families.family import PICO, SPM_VOCABULARY, Family, causal

WINDOW = 16  # shorter than the prompt
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|channel>", "<channel|>", "<|turn>", "<turn|>")


def write_merging_tokenizer(directory: Path) -> None:
    """Write a tokenizer.json as Gemma 4 has: BPE over text with bytes as a fallback, special tokens first."""
    for path in directory.glob("*token*"):
        path.unlink()
    words = tuple("\u2581" + word for word in TEXT.split())
    merges = learn_merges(words, 150)
    singles = sorted({symbol for word in words for symbol in word} | set("0123456789\n"))
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *singles, *(a + b for a, b in merges)]
    vocabulary = {text: i for i, text in enumerate(dict.fromkeys(pieces))}
    added = [
        {"id": i, "content": text, "special": True, "normalized": False, "single_word": False}
        | {"lstrip": False, "rstrip": False}
        for i, text in enumerate(SPECIAL)
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [list(pair) for pair in merges],
        },
    }
    roles = {f"{role}_token": f"<{role}>" for role in ("pad", "eos", "bos", "unk", "mask")}
    others = {"soc_token": "<|channel>", "eoc_token": "<channel|>", "sot_token": "<|turn>"}
    others["eot_token"] = "<turn|>"
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **roles, "extra_special_tokens": others}
    write_json(directory / "tokenizer.json", tokenizer)
    write_json(directory / "tokenizer_config.json", config)


def n_merging_tokens() -> int:
    """Return the number of tokens of that tokenizer."""
    words = tuple("\u2581" + word for word in TEXT.split())
    merges = learn_merges(words, 150)
    singles = {symbol for word in words for symbol in word} | set("0123456789\n")
    return len({*SPECIAL, *singles, *(a + b for a, b in merges)}) + 256


GEMMA4 = PICO | {
    "vocab_size": n_merging_tokens(),
    "vocab_size_per_layer_input": n_merging_tokens(),
    "head_dim": 32,
    "sliding_window": WINDOW,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}


def gemma4(text: dict[str, Any], kind: str = "Gemma4") -> Callable[[], Any]:
    """Return a maker of a model that sees, of whose tower only the names matter here."""

    def make() -> Any:
        import transformers

        sight: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
        sight |= {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
        sight |= {"position_embedding_size": 8}
        if kind == "Gemma4Unified":
            sight = {"mm_embed_dim": 256, "output_proj_dims": 256, "mm_posemb_size": 8, "patch_size": 2}
        config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=sight)
        return getattr(transformers, f"{kind}ForConditionalGeneration")(config)

    return make


NO_CAP = "where Gemma 4 caps nothing we say so; the converter doesn't, and llama.cpp caps at 30"
UNCAPPED = {"gemma4.final_logit_softcapping": NO_CAP}


def suppressing(directory: Path) -> None:
    write_merging_tokenizer(directory)
    write_json(directory / "generation_config.json", {"suppress_tokens": [4, 5]})


FAMILIES: tuple[Family, ...] = (
    Family(
        "gemma3n",
        "Gemma3nForCausalLM",
        causal(
            "Gemma3nTextConfig",
            **PICO | SPM_VOCABULARY | {"num_hidden_layers": 5, "pad_token_id": 0},
            head_dim=64,
            sliding_window=WINDOW,
            vocab_size_per_layer_input=450,
            num_kv_shared_layers=0,
            activation_sparsity_pattern=[0.95] * 5,
        ),
        "spm",
        tolerance=2e-2,  # ggml's GELU comes from a table of F16
    ),
    Family(
        "gemma4",
        "Gemma4ForConditionalGeneration",
        gemma4(
            GEMMA4
            | {"num_hidden_layers": 6, "num_kv_shared_layers": 3, "use_double_wide_mlp": True}
            | {"global_head_dim": 64, "hidden_size_per_layer_input": 32, "final_logit_softcapping": 30.0}
            | {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2}
        ),
        "bpe",
        edit=write_merging_tokenizer,
    ),
    Family(
        "gemma4-moe",
        "Gemma4ForCausalLM",
        causal(
            "Gemma4TextConfig",
            **GEMMA4,
            hidden_size_per_layer_input=0,
            layer_types=["sliding_attention", "full_attention"],
            global_head_dim=64,
            num_global_key_value_heads=1,
            attention_k_eq_v=True,
            enable_moe_block=True,
            num_experts=4,
            top_k_experts=2,
            moe_intermediate_size=64,
        ),
        "bpe",
        UNCAPPED,
        edit=write_merging_tokenizer,
        dtype="BF16",
    ),
    Family(
        "gemma4-unified",
        "Gemma4UnifiedForConditionalGeneration",
        gemma4(
            {key: value for key, value in GEMMA4.items() if key != "vocab_size_per_layer_input"}
            | {"layer_types": ["sliding_attention", "full_attention"], "global_head_dim": 64}
            | {"moe_intermediate_size": None},
            "Gemma4Unified",
        ),
        "bpe",
        UNCAPPED,
        edit=suppressing,
    ),
)
