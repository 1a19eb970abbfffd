"""The tokenizers of pico checkpoints: byte-level BPE in tokenizer.json, SentencePiece in tokenizer.model.

Both learn their merges from one short text, so they split English roughly as real ones do. The SentencePiece
file is encoded here by hand (protobuf: field number and wire type, length, value), which keeps its trainer
out of the tests.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

TEXT = (
    "The capital of France is Paris. The cat sat on the mat and the dog ran to the door. "
    "Once upon a time there was a little girl who lived near the forest. She said hello to everyone. "
    "What is the opposite of hot? It is cold. "
    "You are a helpful assistant. The user asks a question and the assistant answers it in a short sentence. "
)
QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
N_MERGES = 150


def byte_characters() -> list[str]:
    """GPT-2's printable character for each byte value: itself where printable, else one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return [chr(b) if b in printable else chr(next(spare)) for b in range(256)]


@cache
def learn_merges(words: tuple[str, ...], n_merges: int) -> tuple[tuple[str, str], ...]:
    """Byte-pair encoding's training: again and again the most frequent neighbours; ties by their text."""
    current = [list(word) for word in words]
    merges: list[tuple[str, str]] = []
    while len(merges) < n_merges:
        pairs = Counter(pair for word in current for pair in pairwise(word))
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        current = [_merge(word, best) for word in current]
    return tuple(merges)


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in word:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def write_bpe_tokenizer(directory: Path) -> tuple[int, int, int]:
    """tokenizer.json with Qwen2's pre-tokenizer, tokenizer_config.json; returns n_tokens, bos and eos ids."""
    characters = byte_characters()
    words = tuple("".join(characters[byte] for byte in f" {word}".encode()) for word in TEXT.split())
    merges = learn_merges(words, N_MERGES)
    vocabulary = dict.fromkeys([*sorted(characters), *(a + b for a, b in merges)])
    tokens = list(vocabulary)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    added = [_added_token(len(tokens) + i, text, special=True) for i, text in enumerate(special)]
    added.append(_added_token(len(tokens) + len(special), "<think>", special=False))
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": QWEN2_REGEX}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            ],
        },
        "post_processor": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": False,
            "use_regex": False,
        },
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": False,
            "use_regex": False,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [f"{a} {b}" for a, b in merges],
        },
    }
    _write_json(directory / "tokenizer.json", tokenizer)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "added_tokens_decoder": {str(a["id"]): {k: v for k, v in a.items() if k != "id"} for a in added},
        "chat_template": CHAT_TEMPLATE,
    }
    _write_json(directory / "tokenizer_config.json", config)
    n_tokens = len(tokens) + len(added)
    return n_tokens, added[0]["id"], added[2]["id"]


def _added_token(token_id: int, content: str, *, special: bool) -> dict[str, Any]:
    return {
        "id": token_id,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def write_spm_tokenizer(directory: Path) -> tuple[int, int, int]:
    """Llama's tokenizer.model (unk, bos, eos, 256 bytes, pieces) with its configs; returns as above."""
    words = tuple("\u2581" + word for word in TEXT.split())
    merges = learn_merges(words, N_MERGES)
    singles = sorted(
        {symbol for word in words for symbol in word} | set("abcdefghijklmnopqrstuvwxyz0123456789.,?!'")
    )
    pieces: list[tuple[str, float, int]] = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    pieces += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    merged = list(dict.fromkeys(a + b for a, b in merges))
    pieces += [(text, -float(rank), 1) for rank, text in enumerate(merged)]
    pieces += [(text, -float(len(merged) + rank), 1) for rank, text in enumerate(singles)]
    trainer = _integer(3, 2) + _integer(35, 1)  # model_type BPE, byte_fallback
    trainer += _integer(40, 0) + _integer(41, 1) + _integer(42, 2)  # unk, bos, eos ids
    normalizer = _bytes(1, b"identity") + _integer(3, 1) + _integer(4, 0) + _integer(5, 1)
    body = b"".join(spm_piece(text, score, kind) for text, score, kind in pieces)
    (directory / "tokenizer.model").write_bytes(body + _bytes(2, trainer) + _bytes(3, normalizer))
    first_added = len(pieces)
    _write_json(directory / "added_tokens.json", {"<|im_start|>": first_added, "<|im_end|>": first_added + 1})
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "added_tokens_decoder": {
            "0": _decoder_entry("<unk>", special=True),
            "1": _decoder_entry("<s>", special=True),
            "2": _decoder_entry("</s>", special=True),
            str(first_added): _decoder_entry("<|im_start|>", special=True),
            str(first_added + 1): _decoder_entry("<|im_end|>", special=False),
        },
        "chat_template": CHAT_TEMPLATE,
    }
    _write_json(directory / "tokenizer_config.json", config)
    return len(pieces) + 2, 1, 2


def spm_piece(text: str, score: float, kind: int) -> bytes:
    """One piece as tokenizer.model has it; files may be continued by more of them."""
    return _bytes(1, _bytes(1, text.encode()) + _float(2, score) + _integer(3, kind))


def spm_settings(*, model_type: int, charsmap: bytes = b"") -> bytes:
    """What follows the pieces: 1 is a unigram model, 2 BPE; `charsmap`: a compiled normalization."""
    return _bytes(2, _integer(3, model_type)) + _bytes(3, _bytes(1, b"nmt_nfkc") + _bytes(2, charsmap))


def _decoder_entry(content: str, *, special: bool) -> dict[str, Any]:
    return {key: value for key, value in _added_token(0, content, special=special).items() if key != "id"}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
