"""Tokenizers older than tokenizer.json: vocab.txt (WordPiece), vocab.json and merges.txt (byte-level).

They are put into the form of a tokenizer.json, completed with the defaults of the class that
tokenizer_config.json names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.errors import UnknownTokenizer
from quantize.checkpoint.json_file import optional_json_object, read_bounded
from quantize.vocabulary.pre_tokenizer_patterns import QWEN2

BYTE_LEVEL: Final = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
QWEN2_STEPS: Final = {
    "type": "Split",
    "pattern": {"Regex": QWEN2},
    "behavior": "Isolated",
    "invert": False,
}
GPT2_CLASSES: Final = ("GPT2Tokenizer", "CodeGenTokenizer", "GPTNeoXTokenizer")
ROBERTA_CLASSES: Final = ("RobertaTokenizer", "LongformerTokenizer")
WORDPIECE_CLASSES: Final = ("BertTokenizer", "DistilBertTokenizer")
BERT_ROLES: Final = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
ROBERTA_ROLES: Final = {
    "bos": "<s>",
    "eos": "</s>",
    "unk": "<unk>",
    "sep": "</s>",
    "pad": "<pad>",
    "cls": "<s>",
    "mask": "<mask>",
}


def read_slow_tokenizer(directory: Path, tokenizer_config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what a tokenizer.json would hold; None where the folder has no such files.

    Raises UnknownTokenizer: a class whose way to split text isn't known; CheckpointError: unreadable files.
    """
    config = tokenizer_config or {}
    name = str(config.get("tokenizer_class", "")).removesuffix("Fast")
    words, vocabulary = directory / "vocab.txt", directory / "vocab.json"
    if words.is_file() and (name in WORDPIECE_CLASSES or not name):
        return _wordpiece(words, config)
    if vocabulary.is_file() and (directory / "merges.txt").is_file():
        return _byte_level(directory, name, config)
    return None


def _wordpiece(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    text = read_bounded(path).decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.removesuffix("\n").split("\n")  # no other line ends: tokens may hold them
    vocabulary = {line: i for i, line in enumerate(lines)}
    names = _names(config, BERT_ROLES)
    normalizer: dict[str, Any] = {"type": "BertNormalizer", "lowercase": config.get("do_lower_case", True)}
    normalizer["strip_accents"] = config.get("strip_accents")
    return {
        "added_tokens": _special_entries(names.values(), vocabulary),
        "normalizer": normalizer,
        "post_processor": _bert_template(names),
        "model": {"type": "WordPiece", "vocab": vocabulary, "continuing_subword_prefix": "##"},
    }


def _byte_level(directory: Path, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    vocabulary = optional_json_object(directory / "vocab.json") or {}
    added = optional_json_object(directory / "added_tokens.json") or {}
    roberta = name in ROBERTA_CLASSES
    if name == "Qwen2Tokenizer":
        pre: dict[str, Any] = {
            "type": "Sequence",
            "pretokenizers": [QWEN2_STEPS, {**BYTE_LEVEL, "use_regex": False}],
        }
    elif roberta or name in GPT2_CLASSES:
        pre = {**BYTE_LEVEL, "add_prefix_space": config.get("add_prefix_space", False) is True}
    else:
        raise UnknownTokenizer(
            f"vocab.json and merges.txt don't say how {name or 'an unnamed tokenizer_class'} splits text; "
            "add a tokenizer.json"
        )
    names = _names(config, ROBERTA_ROLES if roberta else {"bos": "<|endoftext|>", "eos": "<|endoftext|>"})
    added_ids = {text: i for text, i in added.items() if type(i) is int}
    processor: dict[str, Any] = {**BYTE_LEVEL}
    if roberta:
        both = {role: [names[role], vocabulary.get(names[role], 0)] for role in ("cls", "sep")}
        processor = {"type": "RobertaProcessing", **both}
    return {
        "added_tokens": [*_special_entries(names.values(), vocabulary | added_ids)],
        "pre_tokenizer": pre,
        "post_processor": processor,
        "decoder": BYTE_LEVEL,
        "model": {"type": "BPE", "vocab": vocabulary},
    }


def _names(config: Mapping[str, Any], defaults: Mapping[str, str]) -> dict[str, str]:
    """Return each role's text, as tokenizer_config.json names it or as the class does."""
    texts = dict(defaults)
    for role in defaults:
        value = config.get(f"{role}_token")
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            texts[role] = value
    return texts


def _special_entries(texts: Any, vocabulary: Mapping[str, int]) -> list[dict[str, Any]]:
    known = dict.fromkeys(text for text in texts if text in vocabulary)
    return [{"id": vocabulary[text], "content": text, "special": True} for text in known]


def _bert_template(names: Mapping[str, str]) -> dict[str, Any]:
    first, last = {"SpecialToken": {"id": names["cls"]}}, {"SpecialToken": {"id": names["sep"]}}
    a, b = {"Sequence": {"id": "A"}}, {"Sequence": {"id": "B"}}
    return {
        "type": "TemplateProcessing",
        "single": [first, a, last],
        "pair": [first, a, last, b, last],
    }
