"""A small valid GGUF file, and hundreds of malformed ones made from it; always the same for the same seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

N_TOKENS = 300
N_LAYERS = 2
N_EMBD = 64


def write_small_gguf(path: Path, change: Callable[[gguf.GGUFWriter], None] | None = None) -> Path:
    """A Llama of two layers with random weights and a byte-level vocabulary. `change` may add keys."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_file_type(7)
    writer.add_context_length(512)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYERS)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"token{i}" for i in range(N_TOKENS)])
    writer.add_token_types([1] * N_TOKENS)
    writer.add_token_scores([0.0] * N_TOKENS)
    writer.add_token_merges([f"to ken{i}" for i in range(20)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{{ messages[0].content }}")
    if change is not None:
        change(writer)
    for name, array in _tensors():
        if array.dtype == np.uint8:
            writer.add_tensor(name, array, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors() -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    generator = np.random.default_rng(7)

    def matrix(rows: int, columns: int) -> np.ndarray[Any, Any]:
        values = generator.standard_normal((rows, columns), dtype=np.float32)
        quantized: np.ndarray[Any, Any] = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        return quantized

    yield "token_embd.weight", matrix(N_TOKENS, N_EMBD)
    for layer in range(N_LAYERS):
        for name, rows, columns in (
            ("attn_q", N_EMBD, N_EMBD),
            ("attn_k", N_EMBD // 2, N_EMBD),
            ("attn_v", N_EMBD // 2, N_EMBD),
            ("attn_output", N_EMBD, N_EMBD),
            ("ffn_gate", 128, N_EMBD),
            ("ffn_up", 128, N_EMBD),
            ("ffn_down", N_EMBD, 128),
        ):
            yield f"blk.{layer}.{name}.weight", matrix(rows, columns)
        yield f"blk.{layer}.attn_norm.weight", np.ones(N_EMBD, np.float32)
        yield f"blk.{layer}.ffn_norm.weight", np.ones(N_EMBD, np.float32)
    yield "output_norm.weight", np.ones(N_EMBD, np.float32)


def malformed(data: bytes, header_bytes: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Files that must all be refused: (what is wrong, bytes)."""
    yield from _truncated(data, header_bytes, random.Random(seed))
    yield from _wild_counts(data)
    yield from _wild_values(data)
    yield from _wild_tensors(data)
    yield "nothing", b""
    yield "another file", b"\x80\x02" * 500
    yield "zeros", bytes(4096)


def bit_flipped(data: bytes, header_bytes: int, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Files with one to four flipped bits in the header; some may still be valid."""
    generator = random.Random(seed)
    for _ in range(count):
        changed = bytearray(data)
        places = [generator.randrange(header_bytes * 8) for _ in range(generator.choice((1, 1, 2, 4)))]
        for place in places:
            changed[place // 8] ^= 1 << place % 8
        yield f"bits {places} flipped", bytes(changed)


def _truncated(data: bytes, header_bytes: int, generator: random.Random) -> Iterator[tuple[str, bytes]]:
    ends = {*range(25), 100, header_bytes - 1, header_bytes, header_bytes + 1, len(data) // 2}
    ends |= {generator.randrange(header_bytes) for _ in range(40)}
    ends |= {generator.randrange(header_bytes, len(data) - 64) for _ in range(20)}
    for end in sorted(ends):
        yield f"cut after {end} bytes", data[:end]


WILD = (0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def _wild_counts(data: bytes) -> Iterator[tuple[str, bytes]]:
    n_tensors, n_kv = struct.unpack_from("<QQ", data, 8)
    for offset, what, real in ((8, "tensors", n_tensors), (16, "keys", n_kv)):
        for wild in (*WILD, real + 1, real - 1, 0 if what == "keys" else real + 2):
            yield f"{wild} {what} claimed", _packed(data, offset, "<Q", wild)
    for version in (0, 1, 4, 0x03000000, 2**32 - 1):
        yield f"version {version}", _packed(data, 4, "<I", version)
    yield "magic", b"GGUG" + data[4:]
    for key in (b"general.name", b"tokenizer.chat_template"):
        for wild in WILD:
            yield f"{key!r} of {wild} bytes", _packed(data, _value_of(data, key), "<Q", wild)
    for key in (b"tokenizer.ggml.tokens", b"tokenizer.ggml.scores", b"tokenizer.ggml.token_type"):
        at = _value_of(data, key)
        for wild in (*WILD, N_TOKENS + 1, N_TOKENS - 1, 0):
            yield f"{key!r} of {wild} entries", _packed(data, at + 4, "<Q", wild)
        for type_ in (9, 13, 2**32 - 1):
            yield f"{key!r} of type {type_}", _packed(data, at, "<I", type_)
    for wild in WILD[:-1]:
        yield f"key of {wild} bytes", _packed(data, data.index(b"general.name") - 8, "<Q", wild)
    for type_ in (13, 100, 2**31, 2**32 - 1):
        yield f"value of type {type_}", _packed(data, _value_of(data, b"general.name") - 4, "<I", type_)


def _wild_values(data: bytes) -> Iterator[tuple[str, bytes]]:
    for key, form, values in (
        (b"llama.block_count", "<I", (0, 513, 2**32 - 1)),
        (b"llama.embedding_length", "<I", (0, 63, 65, 2**31, 2**32 - 1)),
        (b"llama.context_length", "<I", (0, 2**31, 2**32 - 1)),
        (b"llama.attention.head_count", "<I", (0x7FFFFFFF, 3, 2**32 - 1)),
        (b"llama.attention.head_count_kv", "<I", (3, 5, 2**32 - 1)),
        (b"llama.rope.dimension_count", "<I", (15, 18, 2**32 - 1)),
        (b"llama.rope.freq_base", "<f", (float("nan"), float("inf"), -1.0)),
        (b"llama.attention.layer_norm_rms_epsilon", "<f", (-1e-5, float("nan"), float("inf"), 2.0)),
        (b"tokenizer.ggml.bos_token_id", "<I", (N_TOKENS, 2**32 - 1)),
        (b"tokenizer.ggml.eos_token_id", "<I", (N_TOKENS, 2**31)),
    ):
        for value in values:
            yield f"{key!r} = {value}", _packed(data, _value_of(data, key), form, value)
    yield "no architecture", data.replace(b"general.architecture", b"general.architectura")
    yield (
        "a duplicate key",
        data.replace(b"general.name", b"llama.b_cnt_", 1)
        .replace(b"llama.block_count", b"tokenizer.ggml.ns", 1)
        .replace(b"tokenizer.ggml.ns", b"llama.block_count", 1)
        .replace(b"tokenizer.ggml.bos_token_id", b"tokenizer.ggml.eos_token_id"),
    )
    yield "a duplicate token", data.replace(b"token123", b"token122")
    yield "a name that is not UTF-8", data.replace(b"small", b"sma\xff\xfe", 1)


def _wild_tensors(data: bytes) -> Iterator[tuple[str, bytes]]:
    name = b"blk.0.attn_q.weight"
    at = data.index(name)
    dims = at + len(name)
    shape = dims + 4
    type_, offset = shape + 16, shape + 20
    for wild in WILD:
        yield f"tensor name of {wild} bytes", _packed(data, at - 8, "<Q", wild)
        yield f"row of {wild}", _packed(data, shape, "<Q", wild)
        yield f"{wild} rows", _packed(data, shape + 8, "<Q", wild)
        yield f"tensor at {wild}", _packed(data, offset, "<Q", wild)
    for count in (0, 1, 3, 5, 2**32 - 1):
        yield f"{count} dimensions", _packed(data, dims, "<I", count)
    for number in (4, 5, 31, 33, 43, 0, 1, 12, 2**31, 2**32 - 1):
        yield f"ggml type {number}", _packed(data, type_, "<I", number)
    for size in (0, 33, 96):
        yield f"row of {size}", _packed(data, shape, "<Q", size)
    (here,) = struct.unpack_from("<Q", data, offset)
    for elsewhere in (0, here - 32, here + 32, here + 1):
        yield f"tensor at {elsewhere} instead of {here}", _packed(data, offset, "<Q", elsewhere)
    yield "a duplicate tensor", data.replace(b"blk.1.attn_q.weight", name)


def _value_of(data: bytes, key: bytes) -> int:
    """Where the value of `key` starts, after its type."""
    return data.index(struct.pack("<Q", len(key)) + key) + 8 + len(key) + 4


def _packed(data: bytes, offset: int, form: str, value: float) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, offset, value)
    return bytes(changed)
