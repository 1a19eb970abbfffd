"""A Llama GGUF in a real shape with random weights: speed depends on shapes, not on the weights' values.

    python -m bench.random_model VOCAB.gguf OUT.gguf

The vocabulary is copied from a vocabulary-only GGUF of llama.cpp's sources (the real 32k SentencePiece one):
tokenizing, sampling and detokenizing then cost what they cost in life.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np


@dataclass(frozen=True, slots=True)
class Shape:
    """The hyper-parameters of a Llama."""

    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_ff: int
    n_ctx_train: int = 4096


STD = 0.02
SHAPES = {
    "134M": Shape(n_embd=768, n_layer=12, n_head=12, n_head_kv=12, n_ff=2048),
    "1.1B": Shape(n_embd=2048, n_layer=22, n_head=32, n_head_kv=4, n_ff=5632),
}


def copy_vocabulary(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> int:
    """Copy every `tokenizer.*` key; return the number of tokens."""
    for key, field in reader.fields.items():
        if not key.startswith("tokenizer."):
            continue
        kind = field.types[0]
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_array(key, field.contents())
        else:
            writer.add_key_value(key, field.contents(), kind)
    return len(reader.fields["tokenizer.ggml.tokens"].data)


def write_random_llama(
    vocabulary: Path, out: Path, shape: Shape, seed: int = 0, *, successor: bool = False
) -> None:
    """Write an F16 GGUF of `shape` with normal weights (std 0.02) and the vocabulary of `vocabulary`.

    Random weights say nothing sensible, and soon the same token again and again. With `successor` the
    likeliest token after t is t + 1, whatever came before: the embeddings are so large that the layers, which
    cost what they always cost, hardly turn them, and the output's row t + 1 is the embedding of t. It can be
    made to write its prompt again, or an edit of it, as far as the prompt counts upwards.
    """
    reader = gguf.GGUFReader(vocabulary)
    writer = gguf.GGUFWriter(out, "llama", use_temp_file=False)
    writer.add_name(f"random {out.stem}")
    n_vocab = copy_vocabulary(reader, writer)
    writer.add_vocab_size(n_vocab)
    writer.add_context_length(shape.n_ctx_train)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_rope_dimension_count(shape.n_embd // shape.n_head)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tensors = list(tensors_of(shape, n_vocab))
    for name, dims in tensors:
        n_values = int(np.prod(dims))
        kind, itemsize = (np.float16, 2) if len(dims) == 2 else (np.float32, 4)
        writer.add_tensor_info(name, dims, np.dtype(kind), n_values * itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(seed)
    embeddings = np.empty((0, 0), np.float32)
    for name, dims in tensors:  # one at a time: a billion parameters don't have to fit into memory
        if len(dims) == 1:
            writer.write_tensor_data(np.ones(dims, np.float32))
            continue
        if successor and name == "output.weight":
            weights = np.roll(embeddings, 1, axis=0) * np.float32(STD)
        else:
            weights = rng.standard_normal(dims, dtype=np.float32) * np.float32(STD)
        if successor and name == "token_embd.weight":
            weights = embeddings = weights / np.float32(STD)
        writer.write_tensor_data(weights.astype(np.float16))
    writer.close()


def tensors_of(shape: Shape, n_vocab: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Return names and dimensions of all tensors: matrices [rows, columns], norms [n_embd]."""
    n_kv = shape.n_embd // shape.n_head * shape.n_head_kv
    yield "token_embd.weight", (n_vocab, shape.n_embd)
    yield "output.weight", (n_vocab, shape.n_embd)
    yield "output_norm.weight", (shape.n_embd,)
    for i in range(shape.n_layer):
        yield f"blk.{i}.attn_norm.weight", (shape.n_embd,)
        yield f"blk.{i}.ffn_norm.weight", (shape.n_embd,)
        yield f"blk.{i}.attn_q.weight", (shape.n_embd, shape.n_embd)
        yield f"blk.{i}.attn_k.weight", (n_kv, shape.n_embd)
        yield f"blk.{i}.attn_v.weight", (n_kv, shape.n_embd)
        yield f"blk.{i}.attn_output.weight", (shape.n_embd, shape.n_embd)
        yield f"blk.{i}.ffn_gate.weight", (shape.n_ff, shape.n_embd)
        yield f"blk.{i}.ffn_up.weight", (shape.n_ff, shape.n_embd)
        yield f"blk.{i}.ffn_down.weight", (shape.n_embd, shape.n_ff)


def main() -> int:
    parser = argparse.ArgumentParser(description="write a random-weight Llama GGUF (F16)")
    parser.add_argument("vocabulary", type=Path, help="GGUF to take the vocabulary from")
    parser.add_argument("out", type=Path, help="GGUF to write")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="134M")
    parser.add_argument("--context", type=int, default=4096, help="tokens that it says it was trained for")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--successor", action="store_true", help="after token t comes token t + 1")
    args = parser.parse_args()
    shape = replace(SHAPES[args.shape], n_ctx_train=args.context)
    write_random_llama(args.vocabulary, args.out, shape, args.seed, successor=args.successor)
    return 0


if __name__ == "__main__":
    sys.exit(main())
