"""What llama.cpp never gets to see: adapters that don't fit, or that it would abort on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.doctor.tiny_model import write_tiny_gguf
from models.errors import InvalidGGUF
from models.gguf.adapter_info import read_adapter_info
from models.gguf.info import GGUFInfo, GGUFTensor, read_gguf_info
from tests.adapter_gguf import adapter_tensors, write_adapter_gguf

Q = "blk.0.attn_q.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> GGUFInfo:
    return read_gguf_info(write_tiny_gguf(tmp_path_factory.mktemp("base") / "tiny.gguf"))


def test_one_that_fits(base: GGUFInfo, tmp_path: Path) -> None:
    info = read_adapter_info(write_adapter_gguf(tmp_path / "a.gguf", alpha=6.0), base)
    assert (info.alpha, info.rank, info.architecture, info.ignored) == (6.0, 4, "llama", ())
    assert len(info.targets) == 14
    assert info.size_bytes == (tmp_path / "a.gguf").stat().st_size


def test_norms_are_told_apart(base: GGUFInfo, tmp_path: Path) -> None:
    tensors = adapter_tensors() | {"blk.0.attn_norm.weight": np.ones(256, np.float32)}
    info = read_adapter_info(write_adapter_gguf(tmp_path / "a.gguf", tensors, alpha=None), base)
    assert info.ignored == ("blk.0.attn_norm.weight",)
    assert info.alpha is None


def with_key(add: str, key: str, value: Any) -> dict[str, Any]:
    def more(writer: Any) -> None:
        getattr(writer, add)(key, value)

    return {"more": more}


def pair(target: str, a: tuple[int, ...], b: tuple[int, ...], dtype: Any = np.float32) -> dict[str, Any]:
    return {"tensors": {f"{target}.lora_a": np.zeros(a, dtype), f"{target}.lora_b": np.zeros(b, dtype)}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": None}, "general.type is None"),
        ({"kind": "model"}, "general.type is 'model'"),
        ({"adapter_type": "control_vector"}, "adapter.type is 'control_vector'"),
        ({"adapter_type": None} | with_key("add_uint32", "adapter.type", 7), "adapter.type is no string"),
        ({"architecture": "qwen2"}, "'qwen2' and the model has 'llama'"),
        ({"alpha": None} | with_key("add_uint32", "adapter.lora.alpha", 16), "alpha is no f32"),
        ({"alpha": float("nan")}, "alpha is nan"),
        (with_key("add_array", "adapter.alora.invocation_tokens", [1, 2]), "activated LoRA"),
        (with_key("add_uint16", "split.count", 2), "split file"),
        ({"tensors": {}}, "changes no tensor"),
        ({"tensors": {f"{Q}.lora_a": np.zeros((4, 256), np.float32)}}, "only one of"),
        ({"tensors": {"blk.0.attn_q.bias": np.zeros(4, np.float32)}}, "neither .lora_a nor .lora_b"),
        (pair("blk.9.attn_q.weight", (4, 256), (256, 4)), "no tensor blk.9.attn_q.weight"),
        (pair(Q, (4, 128), (256, 4)), "don't fit"),
        (pair(Q, (4, 256), (128, 4)), "don't fit"),
        (pair(Q, (4, 256), (256, 8)), "don't fit"),
        (pair(Q, (2, 4, 256), (2, 256, 4)), "don't fit"),
        (pair(Q, (4, 256), (256, 4), np.int32), "has the type I32"),
        (pair(Q, (4, 256), (256, 4), np.float64), "has the type F64"),
        (pair("blk.0.attn_norm.weight", (4, 256), (1, 4)), "1 dimensions"),
        (pair("token_embd.weight", (4, 256), (320, 4)), "don't fit"),
    ],
)
def test_misfits(options: dict[str, Any], said: str, base: GGUFInfo, tmp_path: Path) -> None:
    path = write_adapter_gguf(tmp_path / "a.gguf", **options)
    with pytest.raises(InvalidGGUF) as error:
        read_adapter_info(path, base)
    assert said in error.value.message
    assert str(path) in error.value.message
    assert "give a LoRA adapter made for this model" in error.value.message


def test_feed_forwards_with_second_scales(base: GGUFInfo, tmp_path: Path) -> None:
    """llama.cpp would end the process; it adds to attention, and to NVFP4 without such scales."""
    up, q = "blk.0.ffn_up.weight", Q
    in_blocks = [replace(t, type="NVFP4") if t.name in (up, q) else t for t in base.tensors]
    path = write_adapter_gguf(tmp_path / "a.gguf")
    assert read_adapter_info(path, replace(base, tensors=tuple(in_blocks))).rank == 4
    scales = [GGUFTensor(f"{name.removesuffix('weight')}scale", (1,), "F32", 0, 4) for name in (up, q)]
    scaled = replace(base, tensors=(*in_blocks, *scales))
    with pytest.raises(InvalidGGUF, match=r"it changes blk\.0\.ffn_up\.weight, which is NVFP4 with a second"):
        read_adapter_info(path, scaled)
    attention = write_adapter_gguf(tmp_path / "b.gguf", adapter_tensors(targets=("attn_q",)))
    assert read_adapter_info(attention, scaled).rank == 4


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def other_magic(data: bytes) -> bytes:
    return b"GGML" + data[4:]


@pytest.mark.parametrize("damage", [cut, other_magic])
def test_damaged_files(damage: Callable[[bytes], bytes], base: GGUFInfo, tmp_path: Path) -> None:
    path = write_adapter_gguf(tmp_path / "a.gguf")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidGGUF):
        read_adapter_info(path, base)
