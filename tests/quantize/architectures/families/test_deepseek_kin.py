"""DeepSeek's kin: layers that choose tokens, nested names, what llama.cpp can't compute."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.registry import architecture_of
from tests.quantize.architectures.families.test_deepseek import LATENT
from tests.quantize.families.deepseek_kin import dots3_note

V32: dict[str, Any] = {
    **LATENT,
    "architectures": ["DeepseekV32ForCausalLM"],
    "q_lora_rank": 16,
    "index_head_dim": 64,
}
DSA: dict[str, Any] = {**V32, "architectures": ["GlmMoeDsaForCausalLM"], "num_hidden_layers": 4}
LITE: dict[str, Any] = {**LATENT, "architectures": ["Glm4MoeLiteForCausalLM"], "q_lora_rank": 16}
YOUTU: dict[str, Any] = {
    key: value
    for key, value in {**LATENT, "architectures": ["YoutuForCausalLM"], "q_lora_rank": 16}.items()
    if "expert" not in key
}
DOTS = dots3_note()[0]
KIMI = {"architectures": ["KimiVLForConditionalGeneration"], "text_config": LATENT}


def keys(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    architecture = architecture_of({k: v for k, v in (config | changes).items() if v != "absent"})
    prefix = f"{architecture.gguf_name}."
    return {key.removeprefix(prefix): value.data for key, value in architecture.metadata().items()}


def indexers(**changes: Any) -> tuple[bool, ...]:
    found: tuple[bool, ...] = keys(DSA, **changes)["attention.indexer.types"]
    return found


def test_the_layers_with_an_indexer_are_listed_patterned_or_scheduled() -> None:
    assert indexers() == (True,) * 4
    assert indexers(indexer_types=["full", "shared", "shared", "full"]) == (True, False, False, True)
    assert indexers(index_topk_pattern="FFSF") == (True, True, False, True)
    assert indexers(index_topk_freq=2) == (True, True, False, True)
    shared = architecture_of({**DSA, "index_topk_pattern": "FSSS"}).tensor_rules()
    assert {rule.name[:5] for rule in shared if "indexer" in rule.name} == {"blk.0"}


def test_dense_layers_are_listed_or_counted() -> None:
    assert keys(LITE, first_k_dense_replace="absent")["leading_dense_block_count"] == 1
    assert keys(LITE, mlp_layer_types=["dense", "dense", "sparse"])["leading_dense_block_count"] == 2
    assert keys(V32)["leading_dense_block_count"] == 1


def test_experts_are_weighed_by_the_sigmoid() -> None:
    assert [keys(config)["expert_gating_func"] for config in (V32, DSA, LITE, KIMI)] == [2] * 4


def test_youtu_has_no_experts() -> None:
    found = keys(YOUTU)
    assert (found["leading_dense_block_count"], found["expert_feed_forward_length"]) == (3, 96)
    assert "expert_count" not in found


def test_kimis_text_model_is_nested() -> None:
    model = architecture_of(KIMI)
    assert model.tensor_name("vision_tower.encoder.blocks.0.wqkv.weight") is None
    assert model.tensor_name("multi_modal_projector.linear_1.weight") is None
    assert model.tensor_name("language_model.model.layers.3.self_attn.q_proj.weight") is None
    attention = "model.layers.2.self_attn.q_proj.weight"
    assert model.tensor_name(f"language_model.{attention}") == attention
    assert model.tensor_name("language_model.lm_head.weight") == "lm_head.weight"


def test_dots_heads_with_a_window_are_of_other_sizes() -> None:
    found = keys(DOTS)
    assert found["attention.head_count"] == (4, 2)
    assert (found["attention.key_length"], found["attention.key_length_swa"]) == (288, 160)
    first = {"num_attention_heads": 2, "q_lora_rank": 256, "kv_lora_rank": 128, "qk_nope_head_dim": 32}
    own = {"1": {**first, "qk_rope_head_dim": 32, "v_head_dim": 64}}
    bare = {name: value for name, value in DOTS.items() if not name.startswith("swa_") or "theta" in name}
    assert keys(bare, per_layer_config=own) == found
    model = architecture_of(DOTS)
    assert model.tensor_name("model.mtp.embed_tokens.weight") is None
    assert model.tensor_name("vision_encoder.blocks.0.norm_1.weight") is None


@pytest.mark.parametrize(
    ("config", "changes", "reason"),
    [
        (V32, {"index_head_dim": 96}, "index_head_dim 96"),
        (V32, {"q_lora_rank": None}, "no q_lora_rank"),
        (LITE, {"mlp_layer_types": ["dense", "sparse", "dense"]}, "in an order"),
        (LITE, {"rope_interleave": False}, "rope_interleave"),
        (LITE, {"n_shared_experts": None}, "n_shared_experts null"),
        (V32, {"n_group": None}, "n_group null"),
        (V32, {"head_dim": None}, "head_dim null"),
        (DSA, {"norm_topk_prob": None}, "norm_topk_prob null"),
        (DSA, {"indexer_types": ["shared", "full", "full", "full"]}, "the first one full"),
        (DOTS, {"swa_q_lora_rank": 128}, "q_lora_rank or qk_rope_head_dim"),
        (DOTS, {"use_dsa": False}, "no layer with an indexer"),
        (DOTS, {"attention_gate_type": "elementwise"}, "headwise"),
        (DOTS, {"layer_types": ["full_attention"]}, "1 entries"),
        (YOUTU, {"n_routed_experts": 4}, "n_routed_experts"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    config: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        keys(config, **changes)
