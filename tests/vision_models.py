"""Tiny random models that see: a text model and its projector, F32, made with gguf, always the same.

One of each way in which an image is put before a model: LLaVA's, whose embeddings stand like tokens; Gemma
3's, which see each other in both directions; Qwen2-VL's, which stand in rows and columns (M-RoPE), as many as
the image is large.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import gguf
import numpy as np

from models.doctor.tiny_model import TinyModel, _add_spm

Way = Literal["llava", "gemma3", "qwen2vl"]
WAYS: tuple[Way, ...] = ("llava", "gemma3", "qwen2vl")
N_EMBD, N_FF, N_HEAD, N_HEAD_KV = 128, 256, 4, 2
EYES, PATCH = 64, 4
Shapes = dict[str, tuple[int, ...]]

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
MARKS = {
    "llava": (),
    "gemma3": ("<start_of_image>", "<end_of_image>"),
    "qwen2vl": ("<|vision_start|>", "<|vision_end|>"),
}
"""The control tokens that libmtmd puts around an image."""


def write_text_model(path: Path, way: Way, width: int = N_EMBD) -> Path:
    """Write the text model: two layers of `width` numbers."""
    shapes: Shapes = {}
    n_kv = width // N_HEAD * N_HEAD_KV
    for layer in range(2):
        block = f"blk.{layer}"
        shapes |= {
            f"{block}.attn_norm.weight": (width,),
            f"{block}.attn_q.weight": (width, width),
            f"{block}.attn_k.weight": (n_kv, width),
            f"{block}.attn_v.weight": (n_kv, width),
            f"{block}.attn_output.weight": (width, width),
            f"{block}.ffn_norm.weight": (width,),
            f"{block}.ffn_gate.weight": (N_FF, width),
            f"{block}.ffn_up.weight": (N_FF, width),
            f"{block}.ffn_down.weight": (width, N_FF),
        }
        if way == "gemma3":
            shapes |= {
                f"{block}.attn_q_norm.weight": (width // N_HEAD,),
                f"{block}.attn_k_norm.weight": (width // N_HEAD,),
                f"{block}.post_attention_norm.weight": (width,),
                f"{block}.post_ffw_norm.weight": (width,),
            }

    def describe(writer: gguf.GGUFWriter) -> None:
        writer.add_context_length(1024)
        writer.add_embedding_length(width)
        writer.add_block_count(2)
        writer.add_feed_forward_length(N_FF)
        writer.add_head_count(N_HEAD)
        writer.add_head_count_kv(N_HEAD_KV)
        writer.add_layer_norm_rms_eps(1e-5)
        if way == "llava":
            writer.add_rope_dimension_count(width // N_HEAD)
        if way == "gemma3":
            writer.add_key_length(width // N_HEAD)
            writer.add_value_length(width // N_HEAD)
        if way == "qwen2vl":
            writer.add_rope_dimension_sections([4, 6, 6, 0])
        n_vocab = _add_spm(writer, TinyModel(control=MARKS[way]))
        writer.add_vocab_size(n_vocab)
        writer.add_chat_template(TEMPLATE)
        outer = {"token_embd.weight": (n_vocab, width), "output_norm.weight": (width,)}
        shapes.update(outer, **{"output.weight": (n_vocab, width)})

    return _write(path, "llama" if way == "llava" else way, shapes, describe)


def write_projector(path: Path, way: Way, width: int = N_EMBD) -> Path:
    """Write a projector to `width` numbers: two layers; 16, 4, or as many tokens as the image is large."""
    shapes: Shapes = {"v.patch_embd.weight": (EYES, 3, PATCH, PATCH)}
    if way == "qwen2vl":
        shapes["v.patch_embd.weight.1"] = (EYES, 3, PATCH, PATCH)
    else:
        shapes["v.patch_embd.bias"] = (EYES,)
        shapes["v.position_embd.weight"] = (16 if way == "llava" else 64, EYES)
    for layer in range(2):
        block = f"v.blk.{layer}"
        for name, rows, columns in (
            *((f"attn_{part}", EYES, EYES) for part in ("q", "k", "v", "out")),
            ("ffn_up", 2 * EYES, EYES),
            ("ffn_down", EYES, 2 * EYES),
        ):
            shapes |= {f"{block}.{name}.weight": (rows, columns), f"{block}.{name}.bias": (rows,)}
        for norm in ("ln1", "ln2"):
            shapes |= {f"{block}.{norm}.weight": (EYES,), f"{block}.{norm}.bias": (EYES,)}
    shapes |= {"v.post_ln.weight": (EYES,), "v.post_ln.bias": (EYES,)}
    if way == "gemma3":
        shapes |= {"mm.input_projection.weight": (EYES, width), "mm.soft_emb_norm.weight": (EYES,)}
    else:
        outer, inner = (EYES, width) if way == "llava" else (4 * EYES, 4 * EYES)
        shapes |= {"mm.0.weight": (inner, outer), "mm.0.bias": (inner,)}
        shapes |= {"mm.2.weight": (width, inner), "mm.2.bias": (width,)}

    def describe(writer: gguf.GGUFWriter) -> None:
        writer.add_type("mmproj")
        writer.add_bool("clip.has_vision_encoder", True)
        writer.add_string("clip.projector_type", {"llava": "mlp", "qwen2vl": "qwen2vl_merger"}.get(way, way))
        writer.add_bool("clip.use_gelu", True)
        for key, value in {
            "image_size": 16 if way == "llava" else 32,
            "patch_size": PATCH,
            "embedding_length": EYES,
            "feed_forward_length": 2 * EYES,
            "block_count": 2,
            "projection_dim": width,
            "attention.head_count": 4,
        }.items():
            writer.add_uint32(f"clip.vision.{key}", value)
        writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
        writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
        writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])

    return _write(path, "clip", shapes, describe)


def _write(
    path: Path, architecture: str, shapes: Shapes, describe: Callable[[gguf.GGUFWriter], None]
) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    describe(writer)
    random = np.random.Generator(np.random.PCG64(11))
    for name, shape in shapes.items():
        writer.add_tensor(name, _values(name, shape, random))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _values(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray[tuple[int, ...]]:
    if name.endswith(".bias"):
        return np.zeros(shape, np.float32)
    if "norm" in name or ".ln" in name or "post_ln" in name:
        return np.ones(shape, np.float32)
    fan_in = int(np.prod(shape[1:]))
    return random.standard_normal(shape, np.float32) / np.float32(np.sqrt(fan_in))
