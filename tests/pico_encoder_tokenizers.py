"""The tokenizers of pico encoders: WordPiece, SentencePiece's unigram model, RoBERTa's BPE.

They know the words of `pico_tokenizer.TEXT` and all letters of it; ids from 400 on are within the vocabulary.
"""

from __future__ import annotations

import base64
import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from tests.pico import write_json
from tests.pico_tokenizer import TEXT, spm_piece, spm_settings

WORDPIECE_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
N_TOKENS = 420
XLM_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?!'-äé你"
SPACE = "\u2581"
SUFFIXES = ("s", "ed", "er", "est", "ing", "ly", "tion", "al", "en", "on")


def added_token(token_id: int, content: str, *, special: bool = True) -> dict[str, Any]:
    """An entry of tokenizer.json's added_tokens."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, **flags, "special": special}


def wordpieces(lowercase: bool = True) -> list[str]:
    """BERT's order: special tokens, unused ones, letters, the rest of words, words."""
    text = TEXT.lower() if lowercase else TEXT
    words = list(dict.fromkeys("".join(c if c.isalnum() else " " for c in text).split()))
    letters = list(dict.fromkeys(LETTERS.lower() if lowercase else LETTERS))
    rest = [f"##{c}" for c in letters if c.isalnum()] + [f"##{suffix}" for suffix in SUFFIXES]
    known = [*WORDPIECE_SPECIAL, *letters, *rest, *words]
    return [*known, *(f"[unused{i}]" for i in range(N_TOKENS - len(dict.fromkeys(known))))]


def wordpiece_json(*, lowercase: bool = True) -> dict[str, Any]:
    """tokenizer.json of BERT's kind."""
    pieces = dict.fromkeys(wordpieces(lowercase))
    vocabulary = {text: i for i, text in enumerate(pieces)}
    first, last = ({"SpecialToken": {"id": text, "type_id": 0}} for text in ("[CLS]", "[SEP]"))
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    special = {text: {"id": text, "ids": [i], "tokens": [text]} for i, text in enumerate(WORDPIECE_SPECIAL)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(i, text) for i, text in enumerate(WORDPIECE_SPECIAL)],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, a, last],
            "pair": [first, a, last, b, last],
            "special_tokens": special,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }


def write_wordpiece_tokenizer(directory: Path) -> None:
    """tokenizer.json and tokenizer_config.json, as BERT's repositories have them."""
    write_json(directory / "tokenizer.json", wordpiece_json())
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    config = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "clean_up_tokenization_spaces": True,
        "model_max_length": 512,
        **{f"{role}_token": text for role, text in names.items()},
    }
    write_json(directory / "tokenizer_config.json", config)


def unigrams() -> list[tuple[str, float]]:
    """Pieces and their log probabilities: words and their beginnings by how often they occur, letters."""
    words = Counter(SPACE + word for word in TEXT.split())
    found: Counter[str] = Counter()
    for word, count in words.items():
        for end in range(2, len(word) + 1):
            found[word[:end]] += count
            found[word[-end + 1 :]] += 1
    pieces = {text: -3.0 - 0.01 * i for i, (text, _) in enumerate(sorted(found.items(), key=_by_count)[:300])}
    for i, letter in enumerate((SPACE, *LETTERS)):
        pieces.setdefault(letter, -9.0 - 0.01 * i)
    return list(pieces.items())


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def charsmap() -> bytes:
    """A compiled normalization that makes a tab a space: a double array with one key, then its replacement.

    https://github.com/google/sentencepiece/blob/master/src/normalizer.cc (EncodePrecompiledCharsMap)
    """
    key, base, step = 9, 0x100, 1
    units = [0] * 0x200
    units[0] = base << 10
    units[base ^ key] = step << 10 | 1 << 8 | key
    units[base ^ key ^ step] = 1 << 31
    trie = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(trie)) + trie + b" \0"


def write_t5_tokenizer(directory: Path) -> None:
    """spiece.model, added_tokens.json and tokenizer_config.json, as T5's repositories have them."""
    head = spm_piece("<pad>", 0.0, 3) + spm_piece("</s>", 0.0, 3) + spm_piece("<unk>", 0.0, 2)
    _write_model(directory / "spiece.model", head)
    write_json(directory / "added_tokens.json", {"\n": 415, "{": 416})
    names = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
    config = {"tokenizer_class": "T5Tokenizer", **{f"{role}_token": text for role, text in names.items()}}
    write_json(directory / "tokenizer_config.json", config)


def write_xlm_model(directory: Path) -> None:
    """sentencepiece.bpe.model of XLM-RoBERTa's kind, in place of what is there."""
    (directory / "spiece.model").unlink()
    (directory / "added_tokens.json").unlink()
    head = spm_piece("<unk>", 0.0, 2) + spm_piece("<s>", 0.0, 3) + spm_piece("</s>", 0.0, 3)
    _write_model(directory / "sentencepiece.bpe.model", head)
    write_json(directory / "tokenizer_config.json", _xlm_config())


def _write_model(path: Path, head: bytes) -> None:
    pieces = b"".join(spm_piece(text, score, 1) for text, score in unigrams())
    path.write_bytes(head + pieces + spm_settings(model_type=1, charsmap=charsmap()))


def _xlm_config() -> dict[str, Any]:
    names = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>"}
    return {
        "tokenizer_class": "XLMRobertaTokenizer",
        "clean_up_tokenization_spaces": True,
        "mask_token": "<mask>",
        **{f"{role}_token": text for role, text in names.items()},
    }


def xlm_json() -> dict[str, Any]:
    """tokenizer.json of XLM-RoBERTa's kind."""
    vocabulary = [*((text, 0.0) for text in XLM_SPECIAL), *unigrams(), ("<mask>", 0.0)]
    bos, eos = ({"SpecialToken": {"id": text, "type_id": 0}} for text in ("<s>", "</s>"))
    a, b = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
    ids = {text: i for i, (text, _) in enumerate(vocabulary)}
    metaspace = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(ids[text], text) for text in (*XLM_SPECIAL, "<mask>")],
        "normalizer": {
            "type": "Precompiled",
            "precompiled_charsmap": base64.b64encode(charsmap()).decode(),
        },
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, a, eos],
            "pair": [bos, a, eos, eos, b, eos],
            "special_tokens": {
                text: {"id": text, "ids": [ids[text]], "tokens": [text]} for text in ("<s>", "</s>")
            },
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocabulary, "byte_fallback": False},
    }


def write_xlm_json(directory: Path) -> None:
    """tokenizer.json of XLM-RoBERTa's kind, in place of what is there."""
    (directory / "spiece.model").unlink()
    (directory / "added_tokens.json").unlink()
    write_json(directory / "tokenizer.json", xlm_json())
    write_json(directory / "tokenizer_config.json", _xlm_config())


def make_roberta(directory: Path) -> None:
    """Of the byte-level BPE that is there one of RoBERTa's kind: GPT-2's way to split, bos and eos around."""
    path = directory / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    ids = {entry["content"]: entry["id"] for entry in tokenizer["added_tokens"]}
    bos, eos = "<|endoftext|>", "<|im_end|>"
    tokenizer["normalizer"], tokenizer["pre_tokenizer"] = None, byte_level
    tokenizer["post_processor"] = {
        "type": "RobertaProcessing",
        "sep": [eos, ids[eos]],
        "cls": [bos, ids[bos]],
        "trim_offsets": True,
        "add_prefix_space": False,
    }
    write_json(path, tokenizer)
    config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    del config["chat_template"], config["add_bos_token"]
    write_json(directory / "tokenizer_config.json", config)
