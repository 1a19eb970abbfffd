r"""The pre-tokenizer of llama.cpp that splits text as a tokenizer.json does, found by its structure.

    tokenizer.json   {"type": "Sequence", "pretokenizers": [
                       {"type": "Split", "pattern": {"Regex": "…"}, …}, {"type": "ByteLevel", …}]}
    signature        ("split …",)

A step that splits is one element of the signature; ByteLevel without its regex splits nothing. Several of
llama.cpp's names share a signature and differ in details of detokenizing only; the table has the one that
behaves like the file. The converter instead hashes the token ids of a test text, so it knows no tokenizer
that was trained again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.errors import UnknownTokenizer
from quantize.vocabulary.pre_tokenizer_patterns import (
    BAILINGMOE,
    BLOOM,
    DEEPSEEK_LLM_LETTERS,
    DEEPSEEK_V3_WORDS,
    EXAONE_MOE,
    GPT2,
    GPT2_TIKTOKEN,
    GPT4_TIKTOKEN,
    GPT4O,
    JAIS2,
    LLAMA3,
    LLAMA3_BY_LETTERS,
    QWEN2,
    QWEN2_BY_LETTERS,
    QWEN35,
    SEED_CODER,
    TEKKEN,
    TINY_AYA_DIGITS,
    UFAKZEKA,
)

DEPTH_LIMIT: Final = 8
"""Sequences may be nested this deep; a file that goes deeper is up to something."""


def _split(*patterns: str) -> tuple[str, ...]:
    return tuple(f"split {pattern}" for pattern in patterns)


PRE_TOKENIZERS: Final[Mapping[tuple[str, ...], str]] = {
    _split(GPT2): "gpt-2",
    _split(GPT2_TIKTOKEN): "gpt-2",
    _split(LLAMA3): "smaug-bpe",
    _split(LLAMA3_BY_LETTERS): "smaug-bpe",
    _split(GPT4_TIKTOKEN): "smaug-bpe",
    _split(JAIS2): "jais-2",
    _split(QWEN2): "qwen2",
    _split(QWEN2_BY_LETTERS): "qwen2",
    _split(UFAKZEKA): "ufakzeka",
    _split(QWEN35): "qwen35",
    _split(TEKKEN): "tekken",
    _split(GPT4O): "gpt-4o",
    _split(BAILINGMOE): "bailingmoe",
    _split(SEED_CODER): "seed-coder",
    _split(EXAONE_MOE): "exaone-moe",
    _split(TINY_AYA_DIGITS, GPT4O): "tiny_aya",
    _split(BLOOM): "bloom",
    (*_split(BLOOM), "digits single"): "viking",
    ("digits single", *_split(GPT2)): "starcoder",
    (*_split("[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+"), "digits single"): "deepseek-coder",
    (
        *_split(
            "[\r\n]", DEEPSEEK_LLM_LETTERS, "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", "\\s+$", "[一-龥ࠀ-一가-퟿]+"
        ),
        "digits single",
    ): "deepseek-llm",
    _split("\\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK_V3_WORDS): "deepseek-v3",
    ("punctuation contiguous", *_split(GPT2), "digits contiguous", *_split("[0-9][0-9][0-9]")): "falcon",
    _split("\\p{N}{1,3}", LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}+")): "minicpm5",
}
"""The name for each signature, for files that don't set `ignore_merges` (a known word is one token)."""

IGNORING_MERGES: Final[Mapping[tuple[str, ...], str]] = {
    _split(LLAMA3): "llama-bpe",
    _split(LLAMA3_BY_LETTERS): "llama-bpe",
    _split(GPT4_TIKTOKEN): "llama-bpe",
    _split(TEKKEN): "tekken",
}
"""The name for each signature, for files that set `ignore_merges`, where llama.cpp has one that does."""

ADDING_BOS: Final = ("llama-bpe", "tekken")
"""The names with which llama.cpp adds bos where a file doesn't say."""


def pre_tokenizer_name(tokenizer: Mapping[str, Any]) -> str:
    """Return `tokenizer.ggml.pre` of a tokenizer.json.

    Raises UnknownTokenizer, which prints the structure.
    """
    signature = pre_tokenizer_signature(tokenizer.get("pre_tokenizer"))
    ignore_merges = (tokenizer.get("model") or {}).get("ignore_merges") is True
    name = (IGNORING_MERGES.get(signature) if ignore_merges else None) or PRE_TOKENIZERS.get(signature)
    if name is None:
        shown = " then ".join(signature) or "nothing"
        raise UnknownTokenizer(
            f"no pre-tokenizer of llama.cpp is known to split as this tokenizer.json does: {shown}; "
            "add it to quantize/vocabulary/pre_tokenizers.py if llama.cpp has it"
        )
    return name


def pre_tokenizer_signature(pre_tokenizer: Any, depth: int = 0) -> tuple[str, ...]:
    """Return the steps that split, in order; an unknown one stands for itself and so matches nothing."""
    if not isinstance(pre_tokenizer, dict) or depth > DEPTH_LIMIT:
        return ()
    match pre_tokenizer.get("type"):
        case "Sequence":
            steps = pre_tokenizer.get("pretokenizers") or []
            if isinstance(steps, list):
                return tuple(part for step in steps for part in pre_tokenizer_signature(step, depth + 1))
        case "ByteLevel" if not pre_tokenizer.get("add_prefix_space"):
            return _split(GPT2) if pre_tokenizer.get("use_regex", True) else ()
        case "Split":
            return _split_signature(pre_tokenizer)
        case "Digits":
            return ("digits single" if pre_tokenizer.get("individual_digits") else "digits contiguous",)
        case "Punctuation":
            return (f"punctuation {str(pre_tokenizer.get('behavior', 'Isolated')).lower()}",)
    return (str(pre_tokenizer)[:500],)


def _split_signature(step: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a Split's signature; if a pattern matches everything, isolating it equals removing the rest."""
    pattern = step.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    how = (step.get("behavior"), bool(step.get("invert")))
    if isinstance(regex, str) and how in (("Isolated", False), ("Removed", True)):
        return _split(regex)
    return (f"split {regex or pattern} {how}",)
