"""Decoders of one line each: what llama.cpp can't compute is refused, and transforms of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.architectures.families.bitnet import Ternary
from quantize.architectures.families.chameleon import RotaryRows
from quantize.architectures.families.dbrx import Experts
from quantize.architectures.registry import architecture_of
from tests.quantize.checkpoint.memory_source import MemorySource

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
ATTENDING = {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.5}}
EMPTY = {"attention": {"n_heads_in_group": None}, "ffn": {"ffn_mult": None}}


def opened(name: str, **changes: Any) -> Any:
    return architecture_of({"architectures": [name], **SIZES, **changes})


def test_dbrx_sizes_under_the_usual_names_count_first() -> None:
    own = {"d_model": 128, "n_layers": 8, "n_heads": 8, "max_seq_len": 512}
    usual = opened("DbrxForCausalLM", **own).hyperparameters
    assert (usual.n_embd, usual.n_layer, usual.n_head) == (64, 4, 4)
    named = architecture_of({"architectures": ["DbrxForCausalLM"], **own})
    assert (named.hyperparameters.n_embd, named.hyperparameters.n_layer, named.context_length) == (
        128,
        8,
        512,
    )


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("GPTBigCodeForCausalLM", {"scale_attn_weights": False}, "attention without a scale"),
        ("GPTBigCodeForCausalLM", {"add_cross_attention": True}, "attention to another text"),
        ("CodeShellForCausalLM", {"num_query_groups": 2, "position_embedding_type": "alibi"}, "'alibi'"),
        ("GPTRefactForCausalLM", {"multi_query": False}, "several key-value heads"),
        ("RuGPT3XLForCausalLM", {"sparse_mode": "alternating"}, "sparse attention 'alternating'"),
        ("ArcticForCausalLM", {}, "moe_layer_frequency 2 and parallel_attn_mlp_res False"),
        ("DbrxForCausalLM", {"ffn_config": {"ffn_act_fn": {"name": "gelu"}}}, "activation 'gelu'"),
        ("DbrxForCausalLM", {"ffn_config": {"moe_normalize_expert_weights": None}}, "weights None"),
        ("SmallThinkerForCausalLM", {"sliding_window_layout": [1, 0, 0, 0]}, "sliding_window_layout"),
        ("SmallThinkerForCausalLM", {"rope_layout": [0, 1, 1, 1]}, "rope_layout"),
        (
            "SmallThinkerForCausalLM",
            {
                "sliding_window_layout": [0, 1, 1, 1],
                "rope_layout": [0, 1, 1, 1],
                "sliding_window_size": 1024,
            },
            "sliding_window_size 1024",
        ),
        ("Grok1ForCausalLM", {"rope_type": "longrope"}, "knows YaRN only"),
        ("BitnetForCausalLM", {}, "tie_word_embeddings false"),
        ("BitNetForCausalLM", {"tie_word_embeddings": True}, "hidden_act 'relu2'"),
        ("ChameleonForConditionalGeneration", {}, "tokens of images up to 8195"),
        ("ChameleonForCausalLM", {"vocab_size": 65536, "mlp_bias": True}, "no place for biases"),
        ("OpenELMForCausalLM", {"share_input_output_layers": True}, "normalize_qk_projections false"),
        ("DeciLMForCausalLM", {"block_configs": 3}, "no list of objects"),
        ("DeciLMForCausalLM", {"block_configs": [ATTENDING]}, "1 layers' sizes for 4 layers"),
        ("DeciLMForCausalLM", {"block_configs": [ATTENDING] * 3 + [EMPTY]}, "layer 3 without feed-forward"),
        (
            "DeciLMForCausalLM",
            {"block_configs": [{**ATTENDING, "ffn": {"ffn_mult": None}}, *[ATTENDING] * 3]},
            "layer 0 without feed-forward",
        ),
        (
            "DeciLMForCausalLM",
            {"block_configs": [{"ffn": {"replace_with_linear": True}}] * 4},
            "feed-forward that is one matrix",
        ),
        (
            "DeciLMForCausalLM",
            {"block_configs": [{"attention": {"window_length": 512}}] * 4},
            "has window_length",
        ),
        ("DeciLMForCausalLM", {"num_key_value_heads_per_layer": [4, 3, 4, 4]}, "for 4 heads"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(name: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        opened(name, **changes).metadata()


def test_layers_of_openelm_by_two_multipliers() -> None:
    flags = {"normalize_qk_projections": True, "share_input_output_layers": True}
    of_270m = opened(
        "OpenELMForCausalLM",
        **flags,
        model_dim=1280,
        head_dim=64,
        num_gqa_groups=4,
        num_transformer_layers=16,
        ffn_multipliers=[0.5, 4.0],
        qkv_multipliers=[0.5, 1.0],
    )
    assert of_270m.heads == [12, 12, 12, 12, 12, 16, 16, 16, 16, 16, 16, 16, 20, 20, 20, 20]
    assert of_270m.kv_heads == [heads // 4 for heads in of_270m.heads]
    assert of_270m.widths[:4] == [768, 1024, 1280, 1536]


def test_matrices_of_experts_are_turned_each_by_itself() -> None:
    whole = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3 * 4, 5)
    source = MemorySource({"w2": whole})
    turned = Experts(5, 4, is_turned=True)
    assert turned.source_shapes((3, 5, 4)) == ((12, 5),)
    rows = turned.read(source, ["w2"], 5, 15)
    np.testing.assert_array_equal(rows, np.concatenate([whole[4:8].T, whole[8:].T]))


def test_the_norms_of_heads_are_put_in_pairs() -> None:
    source = MemorySource({"norm": np.arange(12, dtype=np.float32).reshape(2, 6)})
    rows = RotaryRows().read(source, ["norm"], 1, 2)
    np.testing.assert_array_equal(rows, [[6, 9, 7, 10, 8, 11]])


def test_ternary_numbers() -> None:
    source = MemorySource({"w": np.array([[0.1, -2.0], [1.5, 0.4]], np.float32)})
    np.testing.assert_allclose(Ternary(2).read(source, ["w"], 0, 2), [[0, -1], [1, 0]])
    packed = np.array([[0.5, 0.0], [-0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(Ternary(2).read(MemorySource({"w": packed}), ["w"], 1, 2), packed[1:])
    zeros = MemorySource({"w": np.zeros((2, 2), np.float16)})
    assert Ternary(2).read(zeros, ["w"], 0, 2).dtype == np.float16
