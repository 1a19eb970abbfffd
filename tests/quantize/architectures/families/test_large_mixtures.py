"""MiniMax, Ling, Step, Laguna and MiniCPM: settings by layer, and what llama.cpp can't compute."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.registry import architecture_of
from tests.quantize.families.large_mixtures import SECOND, bailing, minimax_m3, step35
from tests.quantize.families.minicpm import minicpm

M2 = {"architectures": ["MiniMaxM2ForCausalLM"], "num_hidden_layers": 2}
STEP = step35()[0]
LAGUNA = {"architectures": ["LagunaForCausalLM"], "num_hidden_layers": 4}
M3 = minimax_m3()[0]
LING = bailing("BailingMoeForCausalLM", num_shared_experts=2)()[0]
LING2 = bailing("BailingMoeV2ForCausalLM", **SECOND)()[0]
MINICPM = minicpm()()[0]
MINICPM3 = {"architectures": ["MiniCPM3ForCausalLM"], "num_hidden_layers": 2}


def keys(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    architecture = architecture_of(config | changes)
    architecture.tensor_rules()
    prefix = f"{architecture.gguf_name}."
    return {key.removeprefix(prefix): value.data for key, value in architecture.metadata().items()}


def test_the_rotated_part_of_a_minimax_head() -> None:
    assert keys(M2)["rope.dimension_count"] == 128
    assert keys(M2, rotary_dim=64)["rope.dimension_count"] == 64
    assert keys(M2, rope_parameters={"partial_rotary_factor": 0.25})["rope.dimension_count"] == 32


def test_sarvam_rotates_whole_heads() -> None:
    sarvam = LING2 | {"architectures": ["modeling_sarvam_moe.SarvamMoEForCausalLM"]}
    assert (keys(LING2)["rope.dimension_count"], keys(sarvam)["rope.dimension_count"]) == (32, 64)


def test_steps_lists_may_go_on_behind_the_last_layer() -> None:
    longer = {
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        "partial_rotary_factors": [0.5, 1.0, 1.0],
        "swiglu_limits": [0.0, 0.5, None],
        "num_nextn_predict_layers": 1,
    }
    assert keys(STEP, **longer) == keys(STEP)
    assert keys(STEP)["attention.head_count"] == (4, 6)
    assert keys(STEP)["swiglu_clamp_exp"] == (0.0, 0.5)
    nested = {"architectures": ["Step3p7ForConditionalGeneration"], "text_config": STEP | longer}
    assert keys(nested) == keys(STEP)
    model = architecture_of(nested)
    assert model.tensor_name("model.layers.2.transformer.shared_head.norm.weight") is None
    assert model.tensor_name("vision_model.conv1.weight") is None


def test_laguna_says_which_layers_have_a_window_unless_llama_cpp_assumes_them() -> None:
    full, window = "full_attention", "sliding_attention"
    assumed = keys(LAGUNA, layer_types=[full, window, window, window], gating="per-element")
    assert assumed["attention.sliding_window"] == 512
    assert "attention.sliding_window_pattern" not in assumed
    assert "attention.sliding_window" not in keys(LAGUNA)
    others = keys(LAGUNA, layer_types=[window, window, window, full])
    assert others["attention.sliding_window_pattern"] == (True, True, True, False)
    assert keys(LAGUNA)["rope.dimension_count"] == 64


def test_a_minicpm3_base_that_is_null_is_the_embeddings_size() -> None:
    small = {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 4}
    assert keys(MINICPM3, dim_model_base=None, **small) == keys(MINICPM3, **small)


def test_lagunas_rotation_is_said_for_each_type_of_layer() -> None:
    full = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}
    said = keys(LAGUNA, rope_parameters={"full_attention": full})
    assert said["rope.scaling.original_context_length"] == 64
    assert keys(LAGUNA, rope_parameters=5, rope_scaling={"full_attention": full}) == said
    assert keys(LAGUNA, rope_parameters={"full_attention": full}, rope_scaling=None) == keys(LAGUNA)


@pytest.mark.parametrize(
    ("config", "changes", "reason"),
    [
        (M2, {"scoring_func": "softmax"}, "scoring_func"),
        (M2, {"use_qk_norm": False}, "use_qk_norm"),
        (LING, {"use_bias": True}, "use_bias"),
        (LING, {"norm_head": True}, "norm_head"),
        (LING, {"first_k_dense_replace": 1}, "experts in every layer"),
        (LING2, {"use_qk_norm": False}, "use_qk_norm"),
        (LING2, {"score_function": "relu"}, "score_function 'relu'"),
        (MINICPM, {"num_experts": 8}, "num_experts"),
        (
            MINICPM,
            {"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 64}},
            "its whole context",
        ),
        (MINICPM, {"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, "0 numbers as long_factor"),
        (STEP, {"partial_rotary_factors": [1.0, 1.0]}, "rotates 0.5"),
        (STEP, {"moe_router_activation": "softmax"}, "moe_router_activation"),
        (STEP, {"layer_types": ["full_attention"]}, "1 entries"),
        (STEP, {"swiglu_limits": "7"}, "list of finite numbers"),
        (LAGUNA, {"num_attention_heads_per_layer": [48, 48]}, "2 num_attention_heads_per_layer"),
        (LAGUNA, {"moe_router_logit_softcapping": 1.0}, "softcapping"),
        (LAGUNA, {"gating": "sideways"}, "gating 'sideways'"),
        (LAGUNA, {"gating": {}}, r"gating \{\}"),
        (LAGUNA, {"gating": None}, "gating null"),
        (M3, {"moe_layer_freq": [1, 1]}, "other layers"),
        (M3, {"swiglu_limit": 9.0}, "swiglu_limit"),
        (M3, {"shared_intermediate_size": 128}, "one size"),
        (MINICPM3, {"scale_emb": 1}, "scale_emb other than 12"),
        (MINICPM3, {"scale_emb": None}, "scale_emb null"),
        (MINICPM3, {"scale_depth": None}, "scale_depth other than 1.4"),
        (MINICPM3, {"dim_model_base": None}, "dim_model_base other than 256"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    config: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        keys(config, **changes)
