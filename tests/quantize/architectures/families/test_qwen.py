"""Qwen's line: models without an output matrix, those that see or hear, names that files have."""

from __future__ import annotations

import pytest

from models.errors import CheckpointError
from tests.quantize.architectures.base.test_decoder import CONFIG, keys_of, of, rules_of

MOE = {"num_experts": 4, "norm_topk_prob": True, "moe_intermediate_size": 32}


@pytest.mark.parametrize("name", ["Qwen2Model", "Qwen3Model", "Qwen2VLModel"])
def test_a_model_of_vectors_may_have_no_output_matrix(name: str) -> None:
    assert rules_of(name)["output.weight"].optional
    assert not rules_of("Qwen2ForCausalLM")["output.weight"].optional
    assert (
        of(name).tensor_name("layers.0.self_attn.q_proj.weight") == "model.layers.0.self_attn.q_proj.weight"
    )


def test_the_text_model_is_found_in_its_section() -> None:
    text = CONFIG | {"head_dim": 32}
    for name, config in {
        "StepVLForConditionalGeneration": {"text_config": text},
        "Qwen3VLForConditionalGeneration": {"text_config": text},
        "Qwen2_5_VLForConditionalGeneration": {"text_config": CONFIG},
        "Qwen2_5OmniModel": {"thinker_config": {"text_config": CONFIG}},
    }.items():
        assert of(name, hidden_size=None, **config).hyperparameters.n_embd == 64
    assert of("Qwen2VLForConditionalGeneration").hyperparameters.n_embd == 64  # older files are flat


def test_other_parts_are_needless() -> None:
    omni = of("Qwen2_5OmniModel")
    assert omni.tensor_name("thinker.lm_head.weight") == "lm_head.weight"
    assert omni.tensor_name("thinker.model.norm.weight") == "model.norm.weight"
    for name in ("thinker.visual.x", "talker.model.norm.weight", "token2wav.x"):
        assert omni.tensor_name(name) is None
    assert of("StepVLForConditionalGeneration").tensor_name("vit_large_projector.weight") is None
    assert of("Qwen3VLForConditionalGeneration").tensor_name("model.visual.blocks.0.norm1.weight") is None


def test_sections_of_the_rotation() -> None:
    older = {"type": "mrope", "mrope_section": [2, 3, 3]}
    key = "qwen2vl.rope.dimension_sections"
    assert keys_of("Qwen2VLForConditionalGeneration", rope_scaling=older)[key] == (2, 3, 3, 0)
    assert keys_of("Qwen2VLForConditionalGeneration")[key] == (16, 24, 24, 0)


def test_layers_into_which_images_go_are_counted() -> None:
    key, vision = "qwen3vl.n_deepstack_layers", {"deepstack_visual_indexes": [5, 11]}
    assert keys_of("Qwen3VLForConditionalGeneration")[key] == 3
    assert keys_of("Qwen3VLForConditionalGeneration", vision_config=vision, text_config=CONFIG)[key] == 2


def test_experts_of_either_form() -> None:
    rule = rules_of("Qwen3VLMoeForConditionalGeneration", **MOE)["blk.0.ffn_up_exps.weight"]
    assert rule.sources[3] == "model.layers.0.mlp.experts.3.up_proj.weight"
    (fused,) = rule.others
    assert fused.sources == ("model.layers.0.mlp.experts.gate_up_proj",)
    assert fused.transform.source_shapes(fused.shape) == ((4, 64, 64),)


def test_weights_that_are_not_normalized() -> None:
    with pytest.raises(CheckpointError, match="norm_topk_prob"):
        of("Qwen3OmniMoeForConditionalGeneration", **MOE | {"norm_topk_prob": False})
