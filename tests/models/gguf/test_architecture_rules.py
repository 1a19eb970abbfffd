"""The lists of architectures are llama.cpp's own, and each rule refuses what it is for."""

from __future__ import annotations

import os
import re
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from models.gguf.architecture_rules import (
    DEFAULT_GATING,
    EQUAL_HEADS,
    GATED_WINDOWS,
    HYBRID,
    LATENT_ATTENTION,
    LINEAR_ATTENTION,
    PLAIN_ATTENTION,
    RECURRENT,
    TWICE_AS_WIDE,
    WHOLE_ROTATION,
    architecture_faults,
)
from models.gguf.hyperparameters import Hyperparameters
from models.gguf.reader import GGUFArray, GGUFTensor
from quantize.architectures.registry import ARCHITECTURES

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")


class LlamaCppSources:
    """Which architectures' sources hold a text, as a graph of their own or as one that they share."""

    def __init__(self, root: Path) -> None:
        names = dict(re.findall(r'\{ (LLM_ARCH_\w+),\s*"([^"]+)"', (root / "llama-arch.cpp").read_text()))
        model = (root / "llama-model.cpp").read_text()
        self._architectures: dict[str, list[str]] = defaultdict(list)
        for cases, name in re.findall(r"((?:case LLM_ARCH_\w+:\s*)+)return new (llama_model_\w+)", model):
            self._architectures[name] += [names[case] for case in re.findall(r"LLM_ARCH_\w+", cases)]
        self._graph_of: dict[str, str] = {}
        owner = ""
        for line in (root / "models/models.h").read_text().splitlines():
            if found := re.match(r"struct (llama_model_\w+)", line):
                owner = found[1]
            if found := re.match(r"\s+using graph\s*=\s*(llama_model_\w+)::graph", line):
                self._graph_of[owner] = found[1]
        self._lines: dict[str, list[str]] = defaultdict(list)
        for path in sorted((root / "models").glob("*.cpp")):
            owner = ""
            for line in path.read_text().splitlines():
                if found := re.match(r"\S.*?(llama_model_\w+)(?:::\w+(?:<[\w, ]+>)?)?::\w+\(", line):
                    owner = found[1]
                self._lines[owner].append(line.partition("//")[0])

    def loading(self, text: str) -> set[str]:
        owners = {owner for owner, lines in self._lines.items() if any(text in line for line in lines)}
        return {name for owner in owners for name in self._architectures[owner]}

    def building(self, text: str) -> set[str]:
        owners = {owner for owner, lines in self._lines.items() if any(text in line for line in lines)}
        sharing = {owner for owner, graph in self._graph_of.items() if graph in owners}
        return {name for owner in owners | sharing for name in self._architectures[owner]}


@pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources")
def test_the_lists_are_those_of_the_sources() -> None:
    sources = LlamaCppSources(Path(str(SOURCES)) / "src")
    equal = sources.building("GGML_ASSERT(n_embd_head == hparams.n_embd_head_k());")
    equal |= sources.building("GGML_ASSERT(n_embd_head == hparams.n_embd_head_v());")
    assert equal == EQUAL_HEADS
    assert sources.building("GGML_ASSERT(n_embd_head == n_rot);") == WHOLE_ROTATION
    assert sources.loading("GGML_ASSERT(2 * n_embd == d_inner);") == TWICE_AS_WIDE
    gating = sources.loading("expert_gating_func == LLAMA_EXPERT_GATING_FUNC_TYPE_NONE")
    assert gating == DEFAULT_GATING


def test_every_family_that_is_quantized_has_its_rules() -> None:
    ours = {architecture.gguf_name for architecture in ARCHITECTURES if architecture.gguf_name}
    others = HYBRID | RECURRENT | {"gemma4"}  # the last one's heads have two sizes
    assert ours - LINEAR_ATTENTION - {GATED_WINDOWS} <= PLAIN_ATTENTION | LATENT_ATTENTION | others


LATENT: dict[str, Any] = {
    "architecture": "deepseek2",
    "attention__head_count_kv": 1,
    "attention__kv_lora_rank": 16,
    "attention__key_length": 24,
    "attention__value_length": 16,
    "attention__key_length_mla": 32,
    "rope__dimension_count": 8,
}
INDEXED = {
    **LATENT,
    "architecture": "deepseek32",
    "attention__indexer__key_length": 128,
    "attention__indexer__head_count": 4,
    "attention__indexer__top_k": 16,
}
CYCLES: dict[str, Any] = {
    "architecture": "hrm_text",
    "block_count": 6,
    "hrm__layers_per_stack": 1,
    "hrm__h_cycles": 2,
    "hrm__l_cycles": 2,
}
STATES: dict[str, Any] = {
    "architecture": "granitehybrid",
    "ssm__inner_size": 128,
    "ssm__time_step_rank": 8,
    "ssm__group_count": 2,
}
HEADER: dict[str, Any] = {
    "block_count": 2,
    "embedding_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
}


def faults(architecture: str = "llama", rows: dict[str, int] | None = None, **changes: Any) -> list[str]:
    values = {**HEADER, **{key.replace("__", "."): value for key, value in changes.items()}}
    metadata = {f"{architecture}.{key}": value for key, value in values.items() if value is not None}
    shapes = {"blk.1.attn_q.weight": 64, "blk.1.attn_k.weight": 32, "blk.1.attn_v.weight": 32} | (rows or {})
    tensors = [GGUFTensor(name, (64, n), "F16", 0, 0) for name, n in shapes.items()]
    return list(architecture_faults(Hyperparameters(metadata, architecture), tensors))


TWO_KINDS: dict[str, Any] = {
    "architecture": "gemma4",
    "block_count": 4,
    "attention__key_length": 32,
    "attention__value_length": 32,
    "attention__key_length_swa": 16,
    "attention__value_length_swa": 16,
    "attention__shared_kv_layers": 2,
    "attention__sliding_window_pattern": GGUFArray("bool", 4, bytes([1, 0, 1, 0])),
}


def test_heads_of_two_sizes_and_shared_caches() -> None:
    assert faults(**TWO_KINDS) == []
    for change, fault in (
        ({"attention__key_length": 31}, "attention.key_length is 31"),
        ({"attention__value_length_swa": 8}, "of values 8"),
        ({"rope__dimension_count_swa": 32}, "rope.dimension_count_swa is 32"),
        ({"attention__shared_kv_layers": 3}, "leaves 1 layers"),
        ({"attention__shared_kv_layers": 1}, "layers 1 and 2 of another kind than layer 3"),
    ):
        assert any(fault in found for found in faults(**TWO_KINDS | change)), fault
    assert faults("gemma3n", {}, block_count=30) == []
    period = faults("gemma3n", {}, block_count=30, attention__sliding_window_pattern=3)
    assert any("layers 18 and 19" in found for found in period)


def test_a_good_header_has_none() -> None:
    assert faults() == []
    assert faults("qwen3", attention__key_length=16, attention__value_length=16) == []
    assert faults("mamba", {}, attention__head_count=0) == []
    assert faults("gpt2", {"blk.0.attn_qkv.weight": 64 + 2 * 32}) == []
    assert faults("deepseek2", expert_count=4, expert_gating_func=0, rope__dimension_count=8) == []
    assert faults(**LATENT) == []
    assert faults(**INDEXED) == []
    assert faults(**CYCLES) == []
    assert faults("nanbeige", num_loops=256) == []
    assert faults(**STATES) == []
    assert faults("jina-bert-v2", {"blk.0.ffn_up.weight": 64}, feed_forward_length=32) == []


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        ("nextn_predict_layers is 2 of 2 layers", {"nextn_predict_layers": 2}),
        ("nextn_predict_layers is 7 of 2 layers", {"nextn_predict_layers": 7}),
        ("16 numbers for keys and 8 for values", {"attention__value_length": 8}),
        ("8 numbers for keys and 16 for values", {"architecture": "cohere2", "attention__key_length": 8}),
        ("rope.dimension_count is 8, and a head has 16", {"rope__dimension_count": 8}),
        ("rope.dimension_count is 0", {"architecture": "phi2", "rope__dimension_count": 0}),
        ("rope.dimension_count_swa is 0", {"architecture": "gemma3", "rope__dimension_count_swa": 0}),
        ("rope.dimension_count_swa is 7", {"architecture": "gemma3", "rope__dimension_count_swa": 7}),
        ("rope.dimension_count_swa is 32", {"architecture": "gemma3", "rope__dimension_count_swa": 32}),
        ("attention.key_length_swa is 1", {"architecture": "cohere2", "attention__key_length_swa": 1}),
        ("attention.value_length_swa is 8", {"architecture": "cohere2", "attention__value_length_swa": 8}),
        ("expert_gating_func is 9 (1 to 4)", {"expert_count": 4, "expert_gating_func": 9}),
        ("expert_gating_func is 0", {"expert_count": 4, "expert_gating_func": 0}),
        ("key_length and value_length are 25 and 16", {**LATENT, "attention__key_length": 25}),
        ("key_length and value_length are 24 and 8", {**LATENT, "attention__value_length": 8}),
        ("time_step_rank is 0, and", {**STATES, "ssm__time_step_rank": 0}),
        ("group_count is 3, and", {**STATES, "ssm__group_count": 3}),
        ("inner_size is 64 (twice the embedding's 64)", {**STATES, "ssm__inner_size": 64}),
        ("blk.1.attn_k.weight has 32 rows", {"architecture": "lfm2", "attention__head_count_kv": 1}),
        ("nothing of a head is left", {**LATENT, "attention__key_length_mla": 8}),
        ("dimension_count is 0 (even", {**LATENT, "rope__dimension_count": 0}),
        ("indexer.key_length is 96 (a power", {**INDEXED, "attention__indexer__key_length": 96}),
        ("indexer.block_size is 0", {"architecture": "minimax-m3"}),
        ("head_count_kv must be 1", {**INDEXED, "attention__head_count_kv": 2}),
        ("indexer.top_k is 0", {**INDEXED, "attention__indexer__top_k": 0}),
        ("num_loops is 0", {"architecture": "nanbeige", "num_loops": 0}),
        ("num_loops is 257", {"architecture": "nanbeige", "num_loops": 257}),
        ("hrm.l_cycles is 0", {**CYCLES, "hrm__l_cycles": 0}),
        ("block_count isn't 8", {**CYCLES, "hrm__l_cycles": 3}),
        (
            "ffn_up.weight has 64 rows",
            {"architecture": "jina-bert-v2", "rows": {"blk.0.ffn_up.weight": 64}, "feed_forward_length": 31},
        ),
        ("head_count is 0 in layer 1", {"architecture": "olmo2", "attention__head_count": 0}),
        ("head_count is 0 in layer 1", {"attention__head_count": None, "attention__head_count_kv": None}),
        ("blk.1.attn_q.weight has 64 rows", {"architecture": "gemma", "attention__key_length": 8}),
        ("blk.1.attn_k.weight has 32 rows", {"attention__head_count_kv": 1}),
        ("blk.1.attn_v.weight has 16 rows", {"rows": {"blk.1.attn_v.weight": 16}}),
        ("attn_qkv.weight has 192 rows", {"architecture": "gpt2", "rows": {"blk.0.attn_qkv.weight": 192}}),
    ],
)
def test_what_llama_cpp_asserts_is_refused(fault: str, changes: dict[str, Any]) -> None:
    assert any(fault in found for found in faults(**changes))


DELTA_NET: dict[str, Any] = {
    "architecture": "qwen35",
    "attention__key_length": 16,
    "attention__value_length": 16,
    "rope__dimension_count": 4,
    "full_attention_interval": 4,
    "ssm__conv_kernel": 4,
    "ssm__state_size": 8,
    "ssm__group_count": 2,
    "ssm__time_step_rank": 4,
    "ssm__inner_size": 32,
}


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        ("of 1, 8, 2 and 4 (", {"ssm__conv_kernel": 1}),
        ("of 4, 8, 2 and 0 (", {"ssm__time_step_rank": 0}),
        ("inner_size is 33", {"ssm__inner_size": 33}),
        ("inner_size is 32, with 4 value heads", {"ssm__group_count": 3}),
        ("dimension_count is 3 (even", {"rope__dimension_count": 3}),
        ("full_attention_interval is 0", {"full_attention_interval": 0}),
    ],
)
def test_sizes_of_linear_attention(fault: str, changes: dict[str, Any]) -> None:
    assert faults(**DELTA_NET) == []
    assert any(fault in found for found in faults(**DELTA_NET | changes))
    assert faults(**LATENT | {"architecture": "kimi-linear"}) == []
    assert faults("muse-glimmer", {"blk.1.attn_v.weight": 16}) != []


@pytest.mark.parametrize("name", ["token_embd.weight", "output.weight"])
def test_chameleons_vocabulary_has_the_tokens_of_images(name: str) -> None:
    assert faults("chameleon", {name: 8196}) == []
    assert faults("chameleon", {name: 8195}) == [f"{name} has 8195 rows (from 8196 on)"]


@pytest.mark.parametrize("architecture", ["qwen2vl", "glm4", "qwen35"])
@pytest.mark.parametrize(
    ("sections", "is_right"),
    [
        (GGUFArray("i32", 4, struct.pack("<4i", 2, 3, 3, 0)), True),
        (GGUFArray("i32", 4, struct.pack("<4i", 8, 8, 8, 8)), False),
        (GGUFArray("i32", 4, struct.pack("<4i", 0, 0, 0, 4)), False),
        (GGUFArray("i32", 4, struct.pack("<4i", 8, -1, 3, 0)), False),
        (2, True),
        (255, False),
    ],
)
def test_the_sections_of_a_head_fit_it(architecture: str, sections: Any, is_right: bool) -> None:
    found = [
        fault for fault in faults(architecture, rope__dimension_sections=sections) if "sections" in fault
    ]
    assert (found == []) == is_right, found
