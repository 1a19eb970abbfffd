"""A Llama checkpoint in a real shape with random BF16 weights, as Hugging Face lays it out.

    python -m bench.random_checkpoint VOCAB.gguf FOLDER [--shape 1.1B] [--shards 2]

What a quantizer is measured with: its work depends on shapes and on bell-shaped values, not on what a model
says. The vocabulary is a vocabulary-only GGUF's (the real 32k SentencePiece one), written as tokenizer.model.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from bench.random_model import SHAPES, STD, Shape

Dims = tuple[int, ...]


def write_random_checkpoint(vocabulary: Path, folder: Path, shape: Shape, *, shards: int = 1) -> None:
    """Write config.json, tokenizer.model and BF16 safetensors; a tensor at a time, whatever their size."""
    folder.mkdir(parents=True, exist_ok=True)
    n_vocab = _write_tokenizer(gguf.GGUFReader(vocabulary), folder)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": shape.n_embd,
        "intermediate_size": shape.n_ff,
        "num_hidden_layers": shape.n_layer,
        "num_attention_heads": shape.n_head,
        "num_key_value_heads": shape.n_head_kv,
        "max_position_embeddings": shape.n_ctx_train,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": n_vocab,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    _write_json(folder / "config.json", config)
    rng = np.random.default_rng(0)
    everything = dict(tensors_of(shape, n_vocab))
    parts = _parts(everything, shards)
    if shards == 1:
        _write_safetensors(folder / "model.safetensors", everything, rng)
        return
    weight_map: dict[str, str] = {}
    for number, part in enumerate(parts, start=1):
        name = f"model-{number:05}-of-{shards:05}.safetensors"
        _write_safetensors(folder / name, part, rng)
        weight_map.update(dict.fromkeys(part, name))
    total = sum(2 * int(np.prod(dims)) for dims in everything.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)


def tensors_of(shape: Shape, n_vocab: int) -> Iterator[tuple[str, Dims]]:
    """Return Hugging Face's names and shapes of a Llama, in the order of its files."""
    n_kv = shape.n_embd // shape.n_head * shape.n_head_kv
    yield "model.embed_tokens.weight", (n_vocab, shape.n_embd)
    for i in range(shape.n_layer):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (shape.n_embd,)
        yield f"{layer}.mlp.down_proj.weight", (shape.n_embd, shape.n_ff)
        yield f"{layer}.mlp.gate_proj.weight", (shape.n_ff, shape.n_embd)
        yield f"{layer}.mlp.up_proj.weight", (shape.n_ff, shape.n_embd)
        yield f"{layer}.post_attention_layernorm.weight", (shape.n_embd,)
        yield f"{layer}.self_attn.k_proj.weight", (n_kv, shape.n_embd)
        yield f"{layer}.self_attn.o_proj.weight", (shape.n_embd, shape.n_embd)
        yield f"{layer}.self_attn.q_proj.weight", (shape.n_embd, shape.n_embd)
        yield f"{layer}.self_attn.v_proj.weight", (n_kv, shape.n_embd)
    yield "model.norm.weight", (shape.n_embd,)
    yield "lm_head.weight", (n_vocab, shape.n_embd)


def _parts(tensors: Mapping[str, Dims], n: int) -> list[dict[str, Dims]]:
    """Return the tensors in `n` runs of about equal size."""
    total = sum(int(np.prod(dims)) for dims in tensors.values())
    parts: list[dict[str, Dims]] = [{} for _ in range(n)]
    before = 0
    for name, dims in tensors.items():
        parts[min(n - 1, before * n // total)][name] = dims
        before += int(np.prod(dims))
    return parts


def _write_safetensors(path: Path, tensors: Mapping[str, Dims], rng: np.random.Generator) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dims in tensors.items():
        n_bytes = 2 * int(np.prod(dims))
        header[name] = {
            "dtype": "BF16",
            "shape": list(dims),
            "data_offsets": [offset, offset + n_bytes],
        }
        offset += n_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for dims in tensors.values():
            file.write(_bfloat16(rng, dims).data)


def _bfloat16(rng: np.random.Generator, dims: Dims) -> npt.NDArray[np.uint16]:
    """Return a matrix of normal numbers (std 0.02), or a norm of ones; F32 cut to its upper half."""
    if len(dims) == 1:
        return np.full(dims, 0x3F80, np.uint16)
    bits = (rng.standard_normal(dims, dtype=np.float32) * np.float32(STD)).view(np.uint32)
    bits >>= 16
    return bits.astype(np.uint16)


def _write_tokenizer(reader: gguf.GGUFReader, folder: Path) -> int:
    """Write tokenizer.model from the GGUF's pieces, and its config; return the number of tokens."""
    tokens, scores, kinds = (
        reader.fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "scores", "token_type")
    )
    trainer = _integer(3, 2) + _integer(35, 1) + _integer(40, 0) + _integer(41, 1) + _integer(42, 2)
    normalizer = _bytes(1, b"identity") + _integer(3, 1) + _integer(4, 0) + _integer(5, 1)
    body = b"".join(
        _bytes(1, _bytes(1, text.encode()) + _float(2, score) + _integer(3, kind))
        for text, score, kind in zip(tokens, scores, kinds, strict=True)
    )
    (folder / "tokenizer.model").write_bytes(body + _bytes(2, trainer) + _bytes(3, normalizer))
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
    }
    _write_json(folder / "tokenizer_config.json", config)
    return len(tokens)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="write a random-weight Llama checkpoint (BF16 safetensors)")
    parser.add_argument("vocabulary", type=Path, help="GGUF to take the vocabulary from")
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="1.1B")
    parser.add_argument("--shards", type=int, default=1)
    args = parser.parse_args(arguments)
    write_random_checkpoint(args.vocabulary, args.folder, SHAPES[args.shape], shards=args.shards)
    return 0


if __name__ == "__main__":
    sys.exit(main())
