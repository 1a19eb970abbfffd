"""Tiny random models whose memory isn't a plain KV cache: F32, made with numpy, always the same.

A sliding window (OLMo 2), a recurrent state (Mamba), and both kinds of layer in one model (LFM2).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from models.doctor.tiny_model import TinyModel, _add_spm

N_EMBD, N_FF, N_HEAD, N_HEAD_KV = 128, 256, 4, 2
N_WINDOW = 32
N_CTX = 1024
Shapes = dict[str, tuple[int, ...]]


def write_windowed_gguf(path: Path, *, n_window: int = N_WINDOW, n_ctx_train: int = N_CTX) -> Path:
    """Four layers; three of them see only the last `n_window` tokens."""
    shapes: Shapes = {}
    for layer in range(4):
        block = f"blk.{layer}"
        shapes |= {
            **_attention(block),
            f"{block}.attn_q_norm.weight": (N_EMBD,),
            f"{block}.attn_k_norm.weight": (N_EMBD // 2,),
            f"{block}.post_attention_norm.weight": (N_EMBD,),
            f"{block}.post_ffw_norm.weight": (N_EMBD,),
            **_feed_forward(block),
        }

    def describe(writer: gguf.GGUFWriter) -> None:
        writer.add_head_count(N_HEAD)
        writer.add_head_count_kv(N_HEAD_KV)
        writer.add_sliding_window(n_window)

    return _write(path, "olmo2", 4, shapes, describe, n_ctx_train)


def write_recurrent_gguf(path: Path) -> Path:
    """Two layers, no attention at all."""
    inner, state, rank, conv = 2 * N_EMBD, 16, 8, 4
    shapes: Shapes = {}
    for layer in range(2):
        block = f"blk.{layer}"
        shapes |= {
            f"{block}.attn_norm.weight": (N_EMBD,),
            f"{block}.ssm_in.weight": (2 * inner, N_EMBD),
            f"{block}.ssm_conv1d.weight": (inner, conv),
            f"{block}.ssm_conv1d.bias": (inner,),
            f"{block}.ssm_x.weight": (rank + 2 * state, inner),
            f"{block}.ssm_dt.weight": (inner, rank),
            f"{block}.ssm_dt.bias": (inner,),
            f"{block}.ssm_a": (inner, state),
            f"{block}.ssm_d": (inner,),
            f"{block}.ssm_out.weight": (N_EMBD, inner),
        }

    def describe(writer: gguf.GGUFWriter) -> None:
        writer.add_head_count(0)
        writer.add_ssm_conv_kernel(conv)
        writer.add_ssm_inner_size(inner)
        writer.add_ssm_state_size(state)
        writer.add_ssm_time_step_rank(rank)

    return _write(path, "mamba", 2, shapes, describe, N_CTX)


def write_hybrid_gguf(path: Path, *, n_ctx_train: int = N_CTX) -> Path:
    """A convolution with a state, then attention, twice."""
    shapes: Shapes = {}
    for layer in range(4):
        block = f"blk.{layer}"
        shapes |= {
            f"{block}.attn_norm.weight": (N_EMBD,),
            f"{block}.ffn_norm.weight": (N_EMBD,),
            **_feed_forward(block),
        }
        if layer % 2:
            shapes |= {
                **_attention(block),
                f"{block}.attn_q_norm.weight": (N_EMBD // N_HEAD,),
                f"{block}.attn_k_norm.weight": (N_EMBD // N_HEAD,),
            }
        else:
            shapes |= {
                f"{block}.shortconv.conv.weight": (N_EMBD, 3),
                f"{block}.shortconv.in_proj.weight": (3 * N_EMBD, N_EMBD),
                f"{block}.shortconv.out_proj.weight": (N_EMBD, N_EMBD),
            }

    def describe(writer: gguf.GGUFWriter) -> None:
        writer.add_head_count(N_HEAD)
        writer.add_head_count_kv([0, N_HEAD_KV, 0, N_HEAD_KV])
        writer.add_shortconv_l_cache(3)

    return _write(path, "lfm2", 4, shapes, describe, n_ctx_train)


def _attention(block: str) -> Shapes:
    n_kv = N_EMBD // N_HEAD * N_HEAD_KV
    return {
        f"{block}.attn_q.weight": (N_EMBD, N_EMBD),
        f"{block}.attn_k.weight": (n_kv, N_EMBD),
        f"{block}.attn_v.weight": (n_kv, N_EMBD),
        f"{block}.attn_output.weight": (N_EMBD, N_EMBD),
    }


def _feed_forward(block: str) -> Shapes:
    return {
        f"{block}.ffn_gate.weight": (N_FF, N_EMBD),
        f"{block}.ffn_up.weight": (N_FF, N_EMBD),
        f"{block}.ffn_down.weight": (N_EMBD, N_FF),
    }


def _write(
    path: Path,
    architecture: str,
    n_layer: int,
    shapes: Shapes,
    describe: Callable[[gguf.GGUFWriter], None],
    n_ctx_train: int,
) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(n_ctx_train)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(N_FF)
    writer.add_layer_norm_rms_eps(1e-5)
    describe(writer)
    n_vocab = _add_spm(writer, TinyModel())
    writer.add_vocab_size(n_vocab)
    norm = "token_embd_norm.weight" if architecture == "lfm2" else "output_norm.weight"
    outer: Shapes = {"token_embd.weight": (n_vocab, N_EMBD), norm: (N_EMBD,)}
    if architecture != "lfm2":
        outer["output.weight"] = (n_vocab, N_EMBD)
    random = np.random.Generator(np.random.PCG64(7))
    for name, shape in (outer | shapes).items():
        writer.add_tensor(name, _values(name, shape, random))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _values(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray[tuple[int, ...]]:
    if "norm" in name or name.endswith("ssm_d"):
        return np.ones(shape, np.float32)
    if name.endswith("ssm_a"):
        return np.tile(-np.arange(1, shape[-1] + 1, dtype=np.float32), (shape[0], 1))
    if name.endswith(".bias"):
        return np.full(shape, -2.0 if "ssm_dt" in name else 0.1, np.float32)
    return random.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))
