"""Pre-tokenizers are told by structure, and what isn't known is refused."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import UnknownTokenizer
from quantize.vocabulary.pre_tokenizer_patterns import (
    DEEPSEEK_V3_WORDS,
    GPT2,
    GPT2_TIKTOKEN,
    GPT4_TIKTOKEN,
    GPT4O,
    JAIS2,
    LLAMA3,
    LLAMA3_BY_LETTERS,
    QWEN2,
    TEKKEN,
    TINY_AYA_DIGITS,
)
from quantize.vocabulary.pre_tokenizers import (
    IGNORING_MERGES,
    PRE_TOKENIZERS,
    pre_tokenizer_name,
    pre_tokenizer_signature,
)

# As they stand in the tokenizer.json of the models they are named after.
LLAMA3_JSON = (
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)
GPT4O_JSON = (
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"
    "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)
DEEPSEEK_V3_JSON = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)


def split(regex: str, behavior: str = "Isolated", *, invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def byte_level(*, use_regex: bool, add_prefix_space: bool = False) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "use_regex": use_regex}


def tokenizer(*steps: dict[str, Any], ignore_merges: bool = False) -> dict[str, Any]:
    return {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(steps)},
        "model": {"type": "BPE", "ignore_merges": ignore_merges},
    }


@pytest.mark.parametrize(
    ("steps", "ignore_merges", "name"),
    [
        ([split(LLAMA3_JSON), byte_level(use_regex=False)], True, "llama-bpe"),
        ([split(LLAMA3_JSON), byte_level(use_regex=False)], False, "smaug-bpe"),
        ([split(LLAMA3_BY_LETTERS), byte_level(use_regex=False)], True, "llama-bpe"),
        ([split(GPT4_TIKTOKEN, "Removed", invert=True), byte_level(use_regex=False)], False, "smaug-bpe"),
        ([split(GPT2_TIKTOKEN), byte_level(use_regex=False)], False, "gpt-2"),
        ([split(JAIS2), byte_level(use_regex=False)], False, "jais-2"),
        ([split(TINY_AYA_DIGITS), split(GPT4O_JSON), byte_level(use_regex=False)], False, "tiny_aya"),
        ([split(QWEN2), byte_level(use_regex=False)], False, "qwen2"),
        ([split(TEKKEN), byte_level(use_regex=False)], True, "tekken"),
        ([split(GPT4O_JSON, "Removed", invert=True), byte_level(use_regex=False)], False, "gpt-4o"),
        ([byte_level(use_regex=True)], False, "gpt-2"),
        ([{"type": "Digits", "individual_digits": True}, byte_level(use_regex=True)], False, "starcoder"),
        (
            [
                split("\\p{N}{1,3}"),
                split("[一-龥\u3040-ゟ゠-ヿ]+"),
                split(DEEPSEEK_V3_JSON),
                byte_level(use_regex=False),
            ],
            False,
            "deepseek-v3",
        ),
    ],
)
def test_known_structures(steps: list[dict[str, Any]], ignore_merges: bool, name: str) -> None:
    assert pre_tokenizer_name(tokenizer(*steps, ignore_merges=ignore_merges)) == name


def test_the_regexes_are_composed_right() -> None:
    assert JAIS2.endswith(r"|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}")
    assert GPT2_TIKTOKEN.startswith(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|")
    assert LLAMA3 == LLAMA3_JSON
    assert GPT4O == GPT4O_JSON
    assert DEEPSEEK_V3_WORDS.replace("\r\n", "\\r\\n") == DEEPSEEK_V3_JSON


def test_a_single_step_needs_no_sequence() -> None:
    assert pre_tokenizer_name({"pre_tokenizer": byte_level(use_regex=True), "model": {}}) == "gpt-2"


@pytest.mark.parametrize(
    "step",
    [
        split(LLAMA3_JSON + "|x"),
        split(LLAMA3_JSON, "MergedWithNext"),
        split(LLAMA3_JSON, "Removed"),
        byte_level(use_regex=True, add_prefix_space=True),
        {"type": "Metaspace"},
        {"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated"},
        {"type": "Split", "pattern": None},
        {"type": "Sequence", "pretokenizers": 1},
    ],
)
def test_anything_else_is_refused_and_shown(step: dict[str, Any]) -> None:
    with pytest.raises(UnknownTokenizer, match=r"no pre-tokenizer of llama\.cpp is known") as error:
        pre_tokenizer_name(tokenizer(step))
    regex = (step.get("pattern") or {}).get("Regex")
    assert (
        str(regex) if regex else step["type"].lower()
    ) in error.value.message + error.value.message.lower()


def test_sequences_are_followed_only_so_deep() -> None:
    nested: dict[str, Any] = byte_level(use_regex=True)
    for _ in range(400):
        nested = {"type": "Sequence", "pretokenizers": [nested]}
    with pytest.raises(UnknownTokenizer, match="does: nothing"):
        pre_tokenizer_name({"pre_tokenizer": nested, "model": {}})


def test_no_pre_tokenizer_at_all() -> None:
    with pytest.raises(UnknownTokenizer, match="does: nothing"):
        pre_tokenizer_name({"pre_tokenizer": None, "model": {}})


def test_order_counts() -> None:
    digits = {"type": "Digits", "individual_digits": True}
    assert pre_tokenizer_signature([]) == ()
    with pytest.raises(UnknownTokenizer):
        pre_tokenizer_name(tokenizer(byte_level(use_regex=True), digits))


def test_names_are_llama_cpps() -> None:
    known = {*PRE_TOKENIZERS.values(), *IGNORING_MERGES.values()}
    assert len(known) >= 15
    assert GPT2 in next(signature for signature, name in PRE_TOKENIZERS.items() if name == "gpt-2")[0]
