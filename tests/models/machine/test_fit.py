from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import ContextError
from models.gguf.info import read_gguf_info
from models.machine.fit import (
    GIB,
    MIB,
    MemoryEstimate,
    estimate,
    fits_in_memory,
    format_bytes,
    host_bytes,
    kv_bytes_per_token,
    pad_cells,
)
from tests.memory_models import write_windowed_gguf


@dataclass
class Tensor:
    name: str
    nbytes: int


@dataclass
class Header:
    """A model's header, as `models.gguf.info` would give it."""

    n_layer: int | None = 32
    n_embd: int | None = 4096
    n_vocab: int | None = 128256
    numbers: dict[str, int] = field(default_factory=dict)
    lists: dict[str, list[int | float]] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    window_layers: list[bool] = field(default_factory=list)

    def hyperparameter(self, key: str) -> int | None:
        return self.numbers.get(key)

    def per_layer(self, key: str) -> list[int | float]:
        if key in self.lists:
            return self.lists[key]
        return [self.numbers[key]] * (self.n_layer or 1) if key in self.numbers else []


def header(n_layer: int, n_embd: int, n_vocab: int, n_ff: int, n_head: int, n_head_kv: int) -> Header:
    numbers = {
        "attention.head_count": n_head,
        "attention.head_count_kv": n_head_kv,
        "feed_forward_length": n_ff,
    }
    return Header(n_layer, n_embd, n_vocab, numbers)


LLAMA_8B = header(32, 4096, 128256, 14336, 32, 8)
LLAMA_7B = header(32, 4096, 32000, 11008, 32, 32)
TINYLLAMA = header(22, 2048, 32000, 5632, 32, 4)
QWEN_HALF_B = header(24, 896, 151936, 4864, 14, 2)


@pytest.mark.parametrize(
    ("info", "kv_mib", "options", "compute_mib"),
    [
        # llama.cpp's own log for models of these sizes, 4,096 tokens of context, micro-batches of 512.
        (LLAMA_8B, 512, {}, 266.50),
        (LLAMA_8B, 512, {"n_ubatch": 128}, 66.63),
        (LLAMA_8B, 512, {"flash_attn": False}, 308.01),
        (LLAMA_8B, 4096, {"n_parallel": 8}, 266.50),
        (LLAMA_8B, 4096, {"n_parallel": 8, "kv_unified": True}, 266.50),
        (LLAMA_8B, 392, {"type_v": "q8_0"}, 266.50),
        (LLAMA_8B, 272, {"type_k": "q8_0", "type_v": "q8_0"}, 266.50),
        (LLAMA_7B, 2048, {}, 100.51),
        (LLAMA_7B, 2048, {"flash_attn": False}, 320.01),
        (LLAMA_7B, 16384, {"n_parallel": 8, "kv_unified": True}, 128.51),
        (TINYLLAMA, 88, {}, 70.50),
        (TINYLLAMA, 88, {"flash_attn": False}, 285.01),
        (TINYLLAMA, 704, {"n_parallel": 8, "kv_unified": True}, 81.01),
        (QWEN_HALF_B, 48, {}, 300.25),
        (QWEN_HALF_B, 48, {"flash_attn": False}, 302.00),
    ],
)
def test_the_sizes_are_those_llama_cpp_reports(
    info: Header, kv_mib: int, options: dict[str, Any], compute_mib: float
) -> None:
    needs = estimate(info, 4096, **options)
    assert needs.kv == kv_mib * MIB
    assert needs.compute == pytest.approx(compute_mib * MIB, rel=0.01)


@pytest.mark.model
@pytest.mark.parametrize(("type_k", "type_v"), [("f16", "f16"), ("q8_0", "q8_0"), ("q4_0", "f16")])
@pytest.mark.parametrize("kv_unified", [False, True])
def test_a_real_context_takes_what_was_estimated(
    tmp_path: Path, type_k: str, type_v: str, kv_unified: bool, caplog: pytest.LogCaptureFixture
) -> None:
    from models.llamacpp.context import Context
    from models.llamacpp.model import Model

    path = write_tiny_gguf(tmp_path / "tiny.gguf", TinyModel(n_ff=1024))
    needs = estimate(read_gguf_info(path), 1000, 4, type_k=type_k, type_v=type_v, kv_unified=kv_unified)
    with Model.load(path, no_alloc=True) as model, caplog.at_level(logging.INFO, "corral.llama"):
        assert needs.weights == model.size_bytes
        Context(model, n_ctx=4096, n_seq_max=4, kv_unified=kv_unified, type_k=type_k, type_v=type_v).close()
    log = caplog.text
    kv = re.search(r"llama_kv_cache: size = *([\d.]+) MiB", log)
    compute = re.search(r"CPU compute buffer size = *([\d.]+) MiB", log)
    assert kv is not None
    assert compute is not None
    assert needs.kv == pytest.approx(float(kv[1]) * MIB, rel=0.01)
    assert needs.compute == pytest.approx(float(compute[1]) * MIB, rel=0.1)


@pytest.mark.model
@pytest.mark.parametrize("kv_unified", [False, True])
@pytest.mark.parametrize("swa_full", [False, True])
def test_a_window_takes_no_more_than_was_estimated(
    tmp_path: Path, swa_full: bool, kv_unified: bool, caplog: pytest.LogCaptureFixture
) -> None:
    from models.llamacpp.context import Context
    from models.llamacpp.model import Model

    path = write_windowed_gguf(tmp_path / "window.gguf", n_window=300)
    needs = estimate(read_gguf_info(path), 4096, 4, n_ubatch=256, kv_unified=kv_unified, swa_full=swa_full)
    with Model.load(path, no_alloc=True) as model, caplog.at_level(logging.INFO, "corral.llama"):
        Context(
            model, n_ctx=4 * 4096, n_seq_max=4, n_ubatch=256, kv_unified=kv_unified, swa_full=swa_full
        ).close()
    found = re.findall(r"llama_kv_cache: size = *([\d.]+) MiB", caplog.text)
    assert len(found) == 2
    taken = sum(float(size) for size in found) * MIB
    assert taken <= needs.kv * 1.001
    if swa_full or not kv_unified:
        assert needs.kv == pytest.approx(taken, rel=0.01)


def test_layers_of_different_sizes() -> None:
    info = replace(LLAMA_8B, n_layer=3, lists={"attention.head_count_kv": [8, 0, 2]})
    assert kv_bytes_per_token(info) == [8 * 256 * 2, 0, 2 * 256 * 2]


def test_heads_of_their_own_size() -> None:
    numbers = {**LLAMA_8B.numbers, "attention.key_length": 192, "attention.value_length": 128}
    assert kv_bytes_per_token(replace(LLAMA_8B, n_layer=1, numbers=numbers)) == [8 * 320 * 2]


def test_latent_attention_keeps_one_row() -> None:
    numbers = {**LLAMA_8B.numbers, "attention.kv_lora_rank": 512, "rope.dimension_count": 64}
    assert kv_bytes_per_token(replace(LLAMA_8B, n_layer=1, numbers=numbers)) == [576 * 2]


NET = {
    "attention.head_count": 16,
    "attention.head_count_kv": 4,
    "attention.key_length": 256,
    "attention.value_length": 256,
    "ssm.inner_size": 4096,
    "ssm.state_size": 128,
    "ssm.group_count": 16,
    "ssm.conv_kernel": 4,
}


@pytest.mark.parametrize("said", ["interval", "list"])
def test_a_hybrid_keeps_keys_in_some_layers_and_a_state_in_the_others(said: str) -> None:
    layers: list[int | float] = [1, 1, 1, 0] * 2
    found = Header(n_layer=8, numbers=NET | ({"full_attention_interval": 4} if said == "interval" else {}))
    if said == "list":
        found.lists["attention.recurrent_layers"] = layers
    keys = 2 * 2 * 4 * 256  # f16
    assert kv_bytes_per_token(found, "f16", "f16") == [0, 0, 0, keys] * 2
    state = 4 * (3 * (4096 + 2 * 16 * 128) + 4096 * 128)
    assert estimate(found, 256, 1).layer_kv == (state, state, state, 256 * keys) * 2


def test_a_layer_that_predicts_further_tokens_keeps_nothing() -> None:
    numbers = NET | {"full_attention_interval": 4, "nextn_predict_layers": 1}
    found = Header(n_layer=5, numbers=numbers, lists={"attention.recurrent_layers": [1, 1, 1, 0, 0]})
    assert estimate(found, 256, 1).layer_kv[4] == 0


def test_delta_attention_and_lightning_attention() -> None:
    heads = {"attention.head_count": 32, "attention.kv_lora_rank": 512, "rope.dimension_count": 64}
    kimi = Header(n_layer=2, numbers=heads | {"kda.head_dim": 128, "ssm.conv_kernel": 4})
    kimi.lists["attention.head_count_kv"] = [0, 1]
    state = 4 * (3 * 3 * 4096 + 32 * 128 * 128)
    assert estimate(kimi, 256, 1).layer_kv == (state, 256 * 2 * (512 + 64))
    minimax = Header(n_layer=2, numbers={"attention.head_count": 64, "attention.key_length": 128})
    minimax.lists["attention.recurrent_layers"] = [1, 0]
    assert estimate(minimax, 256, 1).layer_kv[0] == 4 * 64 * 128 * 128


def test_recurrent_layers_keep_a_state_per_sequence() -> None:
    numbers = {"ssm.inner_size": 1024, "ssm.state_size": 16, "ssm.conv_kernel": 4}
    info = Header(n_layer=2, numbers=numbers)
    assert estimate(info, 4096, 3).layer_kv == ((3 * 1024 + 1024 * 16) * 4 * 3,) * 2


def test_a_header_without_sizes_is_no_error() -> None:
    needs = estimate(Header(None, None, None), 4096)
    assert (needs.weights, needs.kv, needs.output) == (0, 0, 0)


def test_an_unknown_cache_type() -> None:
    for type_k, type_v, bad in (("f12", "f16", "f12"), ("f16", "f12", "f12"), ("q4_k", "f16", "q4_k")):
        with pytest.raises(ContextError, match=f"can't be of type `{bad}`; choose one of f32, f16"):
            estimate(LLAMA_8B, 4096, type_k=type_k, type_v=type_v)


@pytest.mark.parametrize(("n_ctx", "cells"), [(1, 256), (256, 256), (257, 512), (4096, 4096)])
def test_cells_come_in_units_of_256(n_ctx: int, cells: int) -> None:
    assert pad_cells(n_ctx) == cells


def test_keys_and_values_are_counted_each_in_its_type() -> None:
    width = 8 * 128  # of keys and of values
    assert kv_bytes_per_token(LLAMA_8B, "q4_0", "f16") == [width // 32 * 18 + width * 2] * 32
    assert kv_bytes_per_token(LLAMA_8B, "f32", "q8_0") == [width * 4 + width // 32 * 34] * 32


def test_experts_are_counted_apart() -> None:
    tensors = [
        Tensor("blk.0.ffn_up.weight", 7),
        Tensor("blk.1.ffn_gate_inp.weight", 3),
        Tensor("blk.1.ffn_up_shexp.weight", 11),
        Tensor("blk.1.ffn_gate_up_exps.weight", 100),
        Tensor("blk.1.ffn_down_exps.weight", 60),
        Tensor("blk.1.ffn_down_exps.bias", 2),
        Tensor("blk.1.ffn_up_chexps.weight", 5),
        Tensor("blk.9.ffn_up_exps.weight", 1000),
    ]
    needs = estimate(replace(LLAMA_8B, n_layer=2, tensors=tensors), 256)
    assert (needs.layer_weights, needs.layer_experts, needs.largest_experts) == ((7, 181), (0, 167), 100)
    assert needs.experts_of((1,)) == 167


def test_weights_are_sorted_by_where_they_go() -> None:
    tensors = [
        Tensor("token_embd.weight", 100),
        Tensor("blk.0.attn_q.weight", 10),
        Tensor("blk.1.attn_q.weight", 20),
        Tensor("blk.1.ffn_up.weight", 5),
        Tensor("output_norm.weight", 1),
        Tensor("output.weight", 90),
    ]
    needs = estimate(replace(LLAMA_8B, n_layer=2, tensors=tensors), 256)
    assert (needs.input_weights, needs.layer_weights, needs.output_weights) == (100, (10, 25), 91)
    assert needs.weights == 226


# 32 layers of 200 MiB with 16 MiB of cache each; 500 MiB on either end; half a GiB to compute.
NEEDS = MemoryEstimate(500 * MIB, (200 * MIB,) * 32, 500 * MIB, (16 * MIB,) * 32, 512 * MIB, 0)


def test_what_stays_on_the_host() -> None:
    assert host_bytes(NEEDS) == NEEDS.total
    assert host_bytes(NEEDS, 33) == (500 + 512) * MIB
    assert host_bytes(NEEDS, 1) == NEEDS.total - 500 * MIB
    assert host_bytes(NEEDS, 2) == NEEDS.total - 716 * MIB
    mixture = replace(NEEDS, layer_experts=(150 * MIB,) * 32)
    assert host_bytes(mixture, 33, (0, 31)) == (500 + 512 + 300) * MIB
    assert host_bytes(mixture, 2, (0, 31)) == NEEDS.total - 566 * MIB, "layer 0 is on the host anyway"


def test_verdicts() -> None:
    yes = fits_in_memory(NEEDS, 16 * GIB)
    assert yes.fits
    assert yes.text == "fits: needs 8.2 GiB in memory, 16.0 GiB are available"
    no = fits_in_memory(NEEDS, 4 * GIB)
    assert not no.fits
    assert "doesn't fit: needs 8.2 GiB in memory, 4.0 GiB are available; choose a smaller type" in no.text
    assert fits_in_memory(NEEDS, 4 * GIB, n_gpu_layers=33).fits
    assert fits_in_memory(NEEDS, NEEDS.total + 5, extra_bytes=5).fits
    more = fits_in_memory(NEEDS, NEEDS.total + 4, extra_bytes=5)
    assert (more.fits, more.needed_bytes) == (False, NEEDS.total + 5)


def test_bytes_for_people() -> None:
    assert [format_bytes(n) for n in (int(4.4 * GIB), 512 * MIB, 12 * 1024)] == [
        "4.4 GiB",
        "512 MiB",
        "12 KiB",
    ]
