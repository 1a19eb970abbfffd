"""DeepSeek: dense layers and experts, the latent matrix taken apart, layers that are left out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.safetensors import SafetensorsSource
from tests.pico import write_safetensors

LATENT: dict[str, Any] = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": None,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 5,
    "n_routed_experts": 3,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
}
FIRST: dict[str, Any] = {**LATENT, "architectures": ["DeepseekForCausalLM"], "num_key_value_heads": 2}


def rules(config: dict[str, Any], **changes: Any) -> dict[str, TensorRule]:
    return {rule.name: rule for rule in architecture_of(config | changes).tensor_rules()}


def metadata(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value.data for key, value in architecture_of(config | changes).metadata().items()}


@pytest.mark.parametrize("step", [1, 5, 8, 64])
def test_the_latent_matrix_comes_apart_by_head(step: int, tmp_path: Path) -> None:
    heads, key, value, latent = 4, 6, 5, 8
    matrix = np.arange(heads * (key + value) * latent, dtype=np.float32).reshape(-1, latent)
    write_safetensors(tmp_path / "x.safetensors", {"kv_b": matrix})
    source = SafetensorsSource([tmp_path / "x.safetensors"])
    found = rules(LATENT)
    by_head = matrix.reshape(heads, key + value, latent)
    expected = {
        "blk.1.attn_k_b.weight": by_head[:, :key].swapaxes(1, 2).reshape(-1, key),
        "blk.1.attn_v_b.weight": by_head[:, key:].reshape(-1, latent),
    }
    for name, whole in expected.items():
        rule = found[name]
        assert rule.transform.source_shapes(rule.shape) == (matrix.shape,)
        assert (math.prod(rule.shape[:-1]), rule.shape[-1]) == whole.shape
        parts = [
            rule.transform.read(source, ["kv_b"], at, min(at + step, len(whole)))
            for at in range(0, len(whole), step)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("config", [LATENT, FIRST])
def test_experts_follow_dense_layers(config: dict[str, Any]) -> None:
    found = rules(config)
    assert found["blk.0.ffn_gate.weight"].shape == (96, 64)
    assert "blk.0.ffn_gate_inp.weight" not in found
    assert found["blk.1.ffn_gate_inp.weight"].f32
    assert found["blk.2.ffn_down_exps.weight"].shape == (3, 64, 32)
    assert found["blk.2.ffn_down_exps.weight"].sources[1] == "model.layers.2.mlp.experts.1.down_proj.weight"
    assert found["blk.2.ffn_up_shexp.weight"].shape == (64, 64)
    assert "blk.0.ffn_gate_inp.weight" in rules(config, first_k_dense_replace=0)


def test_a_model_without_experts() -> None:
    found = rules(LATENT, n_routed_experts=None, first_k_dense_replace=None)
    assert found["blk.2.ffn_up.weight"].shape == (96, 64)
    assert "deepseek2.expert_count" not in metadata(LATENT, n_routed_experts=None)


def test_queries_may_be_latent_too() -> None:
    assert rules(LATENT)["blk.0.attn_q.weight"].shape == (40, 64)
    latent = rules(LATENT, q_lora_rank=16)
    assert latent["blk.0.attn_q_b.weight"].shape == (40, 16)
    assert "blk.0.attn_q.weight" not in latent
    assert metadata(LATENT, q_lora_rank=16)["deepseek2.attention.q_lora_rank"] == 16


def test_latent_attention_is_one_wide_key_value_head() -> None:
    keys = metadata(LATENT)
    assert keys["deepseek2.attention.head_count_kv"] == 1
    assert keys["deepseek2.attention.key_length"] == 12
    assert keys["deepseek2.attention.key_length_mla"] == 10
    assert keys["deepseek2.attention.value_length_mla"] == 5


def test_layers_that_predict_further_tokens_are_left_out() -> None:
    model = architecture_of(LATENT | {"architectures": ["DeepseekV3ForCausalLM"]})
    assert model.tensor_name("model.layers.3.mlp.experts.0.up_proj.weight") is None
    assert model.tensor_name("model.layers.2.mlp.gate.weight") == "model.layers.2.mlp.gate.weight"


@pytest.mark.parametrize(
    ("config", "changes", "reason"),
    [
        (LATENT, {"moe_layer_freq": 2}, "moe_layer_freq"),
        (LATENT, {"scoring_func": "relu"}, "scoring_func 'relu'"),
        (LATENT, {"num_experts_per_tok": None}, "num_experts_per_tok"),
        (FIRST, {"norm_topk_prob": True}, "norm_topk_prob"),
        (FIRST, {"n_routed_experts": None}, "n_routed_experts"),
        (FIRST, {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope scaling 'linear'"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    config: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        metadata(config, **changes)
