r"""Which of llama.cpp's pre-tokenizers splits text as a tokenizer.json does: told by its structure.

tokenizer.json:  {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "…"}, …},
{"type": "ByteLevel", …}]} signature:       ("split …",)

A step that splits is one element of the signature; ByteLevel without its regex splits nothing. Several of
llama.cpp's names share a signature and differ in details of detokenizing only; the table has the one that
behaves like the file. The converter instead hashes the token ids of a test text, so it knows no tokenizer
that was trained anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.errors import UnknownTokenizer

DEPTH_LIMIT: Final = 8  # of sequences in sequences; a file that goes deeper is up to something

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
BAILINGMOE = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
SEED_CODER = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1}}"
    r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EXAONE_MOE = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
DEEPSEEK_LLM_LETTERS = (  # the cased letters, as character ranges
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-"
    "\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d"
    "\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-"
    "\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113"
    "\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149"
    "\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-"
    "\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+"
)
DEEPSEEK_V3_WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
).replace('\\"', '"')
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"


def _split(*patterns: str) -> tuple[str, ...]:
    return tuple(f"split {pattern}" for pattern in patterns)


# Signature → name where `ignore_merges` (a word in the vocabulary is one token whatever the merges) is unset.
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
    """`tokenizer.ggml.pre` of a tokenizer.json. Raises UnknownTokenizer that prints the structure."""
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
    """The steps that split, in order; what is not understood stands for itself and so matches nothing."""
    if not isinstance(pre_tokenizer, dict) or depth > DEPTH_LIMIT:
        return ()
    match pre_tokenizer.get("type"):
        case "Sequence":
            steps = pre_tokenizer.get("pretokenizers") or []
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
    """Isolating matches and removing the rest are the same for patterns that match everything."""
    pattern = step.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    how = (step.get("behavior"), bool(step.get("invert")))
    if isinstance(regex, str) and how in (("Isolated", False), ("Removed", True)):
        return _split(regex)
    return (f"split {regex or pattern} {how}",)
