"""tokenizer.json files of well-known models, put together from the vocabularies in llama.cpp's source tree.

Those hold tokens, types and merges; the pre-tokenizer is added here as it stands in the models' own files.
That it is right shows in the converter, which knows these tokenizers by a hash of what they make of a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import TokenType

from quantize.vocabulary.pre_tokenizer_patterns import DEEPSEEK_LLM_LETTERS, LLAMA3, QWEN2, QWEN35
from tests.gguf_reader import QuickReader
from tests.pico import write_json, write_pico_checkpoint


def split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


DIGITS = {"type": "Digits", "individual_digits": True}
CJK = split("[一-龥ࠀ-一가-퟿]+")


@dataclass(frozen=True)
class RealTokenizer:
    """`ours`: the name that we give its pre-tokenizer; llama.cpp treats it like the converter's."""

    ours: str
    steps: tuple[dict[str, Any], ...]
    ignore_merges: bool = False
    adds_bos: bool = False
    normalizer: dict[str, Any] | None = None

    def write(self, vocabulary: Path, directory: Path) -> Path:
        """A one-layer pico checkpoint with this tokenizer."""
        fields = QuickReader(vocabulary).fields
        tokens, types, merges = (
            fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges")
        )
        bos = fields["tokenizer.ggml.bos_token_id"].contents()
        small = {"vocab_size": len(tokens), "intermediate_size": 64, "bos_token_id": bos, "eos_token_id": bos}
        write_pico_checkpoint(directory, n_layers=1, hidden=32, heads=2, kv_heads=1, config=small)
        added = [
            {
                "id": i,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": kind != TokenType.CONTROL,
                "special": kind == TokenType.CONTROL,
            }
            for i, (token, kind) in enumerate(zip(tokens, types, strict=True))
            if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)
        ]
        last_normal = max(i for i, kind in enumerate(types) if kind == TokenType.NORMAL)
        behind = {entry["id"] for entry in added if entry["id"] > last_normal}
        text = tokens[bos]
        template = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {text: {"id": text, "ids": [bos], "tokens": [text]}},
        }
        tokenizer = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": self.normalizer,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(self.steps)},
            "post_processor": template if self.adds_bos else byte_level(use_regex=False),
            "decoder": byte_level(use_regex=True),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": self.ignore_merges,
                "vocab": {
                    token: i
                    for i, token in enumerate(tokens)
                    if i not in behind and types[i] != TokenType.UNUSED
                },
                "merges": merges,
            },
        }
        write_json(directory / "tokenizer.json", tokenizer)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": text,
            "eos_token": text,
            "clean_up_tokenization_spaces": False,
        }
        write_json(directory / "tokenizer_config.json", config)
        return directory


NFC = {"type": "NFC"}
REAL_TOKENIZERS: dict[str, RealTokenizer] = {
    "gpt-2": RealTokenizer("gpt-2", (byte_level(use_regex=True),)),
    "llama-bpe": RealTokenizer(
        "llama-bpe", (split(LLAMA3), byte_level(use_regex=False)), ignore_merges=True, adds_bos=True
    ),
    "qwen2": RealTokenizer("qwen2", (split(QWEN2), byte_level(use_regex=False)), normalizer=NFC),
    "qwen35": RealTokenizer("qwen35", (split(QWEN35), byte_level(use_regex=False)), normalizer=NFC),
    "mpt": RealTokenizer("gpt-2", (byte_level(use_regex=True),), normalizer=NFC),
    "command-r": RealTokenizer("starcoder", (DIGITS, byte_level(use_regex=True)), normalizer=NFC),
    "starcoder": RealTokenizer("starcoder", (DIGITS, byte_level(use_regex=True))),
    "refact": RealTokenizer("starcoder", (DIGITS, byte_level(use_regex=True))),
    "falcon": RealTokenizer(
        "falcon",
        (
            {"type": "Punctuation", "behavior": "Contiguous"},
            byte_level(use_regex=True),
            {"type": "Digits", "individual_digits": False},
            split("[0-9][0-9][0-9]"),
        ),
    ),
    "deepseek-coder": RealTokenizer(
        "deepseek-coder",
        (
            split("[\r\n]"),
            split(r"\s?\p{L}+"),
            split(r"\s?\p{P}+"),
            CJK,
            DIGITS,
            byte_level(use_regex=False),
        ),
        adds_bos=True,
    ),
    "deepseek-llm": RealTokenizer(
        "deepseek-llm",
        (
            split("[\r\n]"),
            split(DEEPSEEK_LLM_LETTERS),
            split("\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+"),
            split(r"\s+$"),
            CJK,
            DIGITS,
            byte_level(use_regex=False),
        ),
        adds_bos=True,
    ),
}
