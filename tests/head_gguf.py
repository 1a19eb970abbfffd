"""Heads with random weights for small models, good and bad, written with gguf's own writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from models.gguf.info import read_gguf_info
from tests.gguf_reader import QuickReader

Array = npt.NDArray[Any]
WIDTH, N_HEAD, N_KV, N_FF = 256, 4, 2, 128
HEAD_DIM = 64


def head_tensors(
    n_vocab: int, *, own: bool = False, n_draft: int | None = None, seed: int = 3
) -> dict[str, Array]:
    """The tensors of a head beside a model of `WIDTH` numbers and `n_vocab` tokens.

    `own`: embeddings and output matrix of its own, of `n_draft` tokens, if given.
    """
    random = np.random.Generator(np.random.PCG64(seed))

    def matrix(*shape: int) -> Array:
        made: Array = random.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))
        return made

    ones = np.ones(WIDTH, np.float32)
    tensors: dict[str, Array] = {
        "fc.weight": matrix(WIDTH, 3 * WIDTH),
        "blk.0.attn_norm.weight": ones,
        "blk.0.attn_norm_2.weight": ones,
        "blk.0.attn_q.weight": matrix(N_HEAD * HEAD_DIM, 2 * WIDTH),
        "blk.0.attn_k.weight": matrix(N_KV * HEAD_DIM, 2 * WIDTH),
        "blk.0.attn_v.weight": matrix(N_KV * HEAD_DIM, 2 * WIDTH),
        "blk.0.attn_output.weight": matrix(WIDTH, N_HEAD * HEAD_DIM),
        "blk.0.ffn_norm.weight": ones,
        "blk.0.ffn_gate.weight": matrix(N_FF, WIDTH),
        "blk.0.ffn_up.weight": matrix(N_FF, WIDTH),
        "blk.0.ffn_down.weight": matrix(WIDTH, N_FF),
        "output_norm.weight": ones,
    }
    if own or n_draft is not None:
        tensors["token_embd.weight"] = matrix(n_vocab, WIDTH)
        tensors["output.weight"] = matrix(n_draft or n_vocab, WIDTH)
    if n_draft is not None:
        tensors["d2t"] = random.permutation(n_vocab)[:n_draft].astype(np.int64)
    return tensors


def write_head_gguf(
    path: Path,
    served: Path,
    tensors: Mapping[str, Array] | None = None,
    *,
    layers: list[int] | None = None,
    target_width: int = WIDTH,
    n_layer: int = 1,
) -> Path:
    """Write a head for the model in the file `served`, whose vocabulary it gets; returns `path`."""
    n_vocab = read_gguf_info(served).n_vocab or 0
    writer = gguf.GGUFWriter(path, "eagle3")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_KV)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_vocab_size(n_vocab)
    writer.add_array("eagle3.target_layers", [0, 1, 1] if layers is None else layers)
    writer.add_uint32("eagle3.target_hidden_size", target_width)
    for field in QuickReader(served).fields.values():
        if field.name.startswith("tokenizer."):
            sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    for name, data in (head_tensors(n_vocab) if tensors is None else tensors).items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
