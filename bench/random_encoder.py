"""A BERT GGUF in MiniLM's or a larger shape with random weights: speed depends on shapes alone.

    python -m bench.random_encoder VOCAB.gguf OUT.gguf [--shape 22M]

The vocabulary is copied from a vocabulary-only GGUF of llama.cpp's sources (`ggml-vocab-bert-bge.gguf`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

from bench.random_model import STD, Shape, copy_vocabulary

SHAPES = {
    "22M": Shape(n_embd=384, n_layer=6, n_head=12, n_head_kv=12, n_ff=1536, n_ctx_train=512),
    "109M": Shape(n_embd=768, n_layer=12, n_head=12, n_head_kv=12, n_ff=3072, n_ctx_train=512),
}


def write_random_bert(vocabulary: Path, out: Path, shape: Shape, seed: int = 0) -> None:
    """Write an F16 GGUF of `shape`, pooled by the mean, with the vocabulary of `vocabulary`."""
    writer = gguf.GGUFWriter(out, "bert", use_temp_file=False)
    writer.add_name(f"random {out.stem}")
    n_vocab = copy_vocabulary(gguf.GGUFReader(vocabulary), writer)
    writer.add_context_length(shape.n_ctx_train)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    rng = np.random.default_rng(seed)
    for name, dims in tensors_of(shape, n_vocab):
        values = rng.standard_normal(dims, dtype=np.float32) * np.float32(STD)
        if name.endswith("norm.weight"):
            values = np.ones(dims, np.float32)
        is_matrix = len(dims) == 2 and not name.startswith(("token_types", "position"))
        writer.add_tensor(name, values.astype(np.float16) if is_matrix else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors_of(shape: Shape, n_vocab: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Return names and dimensions of all tensors: matrices [rows, columns], norms and biases [n]."""
    n, n_ff = shape.n_embd, shape.n_ff
    yield "token_embd.weight", (n_vocab, n)
    yield "token_types.weight", (2, n)
    yield "position_embd.weight", (shape.n_ctx_train, n)
    yield from _norm("token_embd_norm", n)
    for i in range(shape.n_layer):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield from _linear(f"blk.{i}.{part}", n, n)
        yield from _linear(f"blk.{i}.ffn_up", n_ff, n)
        yield from _linear(f"blk.{i}.ffn_down", n, n_ff)
        yield from _norm(f"blk.{i}.attn_output_norm", n)
        yield from _norm(f"blk.{i}.layer_output_norm", n)


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def _norm(name: str, n: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (n,)
    yield f"{name}.bias", (n,)


def main() -> int:
    parser = argparse.ArgumentParser(description="write a random-weight BERT GGUF (F16)")
    parser.add_argument("vocabulary", type=Path, help="GGUF to take the vocabulary from")
    parser.add_argument("out", type=Path, help="GGUF to write")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="22M")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    write_random_bert(args.vocabulary, args.out, SHAPES[args.shape], args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
