r"""Which of llama.cpp's pre-tokenizers splits text as a tokenizer.json does: told by its structure, never guessed.

tokenizer.json:  {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "…"}, …}, {"type": "ByteLevel", …}]}
signature:       ("split …",)

A step that splits is one element of the signature; ByteLevel without its regex splits nothing. Several of llama.cpp's
names share a signature and differ in details of detokenizing only; the table has the one that behaves like the file.
The converter instead hashes the token ids of a test text, so it knows no tokenizer that was trained anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.errors import UnknownTokenizer

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SLASH_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
)

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_TAIL}"
QWEN35 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = rf"{_CASED % ('', '')}|\p{{N}}|{_SLASH_TAIL}"
GPT4O = rf"{_CASED % (_CONTRACTIONS + '?', _CONTRACTIONS + '?')}|\p{{N}}{{1,3}}|{_SLASH_TAIL}"
BAILINGMOE = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
SEED_CODER = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1}}"
    r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EXAONE_MOE = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
DEEPSEEK_LLM_LETTERS = (
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώ"
    "ᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏"
    "𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
)
DEEPSEEK_V3_WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
).replace('\\"', '"')
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"


def _split(*patterns: str) -> tuple[str, ...]:
    return tuple(f"split {pattern}" for pattern in patterns)


# Signature → name, where `ignore_merges` (a word that is in the vocabulary is one token, whatever the merges) is unset.
PRE_TOKENIZERS: Final[Mapping[tuple[str, ...], str]] = {
    _split(GPT2): "gpt-2",
    _split(LLAMA3): "smaug-bpe",
    _split(QWEN2): "qwen2",
    _split(QWEN35): "qwen35",
    _split(TEKKEN): "tekken",
    _split(GPT4O): "gpt-4o",
    _split(BAILINGMOE): "bailingmoe",
    _split(SEED_CODER): "seed-coder",
    _split(EXAONE_MOE): "exaone-moe",
    _split(BLOOM): "bloom",
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
# The names for files that set `ignore_merges`, where llama.cpp has one that does.
IGNORING_MERGES: Final[Mapping[tuple[str, ...], str]] = {
    _split(LLAMA3): "llama-bpe",
    _split(TEKKEN): "tekken",
}


def pre_tokenizer_name(tokenizer: Mapping[str, Any]) -> str:
    """`tokenizer.ggml.pre` of a byte-level tokenizer.json. Raises UnknownTokenizer that prints the structure."""
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


def pre_tokenizer_signature(pre_tokenizer: Any) -> tuple[str, ...]:
    """The steps that split, in order; what is not understood stands for itself and so matches nothing."""
    if not isinstance(pre_tokenizer, dict):
        return ()
    match pre_tokenizer.get("type"):
        case "Sequence":
            steps = pre_tokenizer.get("pretokenizers") or []
            return tuple(part for step in steps for part in pre_tokenizer_signature(step))
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
    """Isolating the matches, and removing what isn't matched, are the same for patterns that match everything."""
    pattern = step.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    how = (step.get("behavior"), bool(step.get("invert")))
    if isinstance(regex, str) and how in (("Isolated", False), ("Removed", True)):
        return _split(regex)
    return (str(dict(step))[:500],)
