"""Families of Llama's shape: each configuration that is refused, which no comparison shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.registry import architecture_of

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}


def family(name: str, **changes: Any) -> Architecture:
    return architecture_of({"architectures": [name], **SIZES, **changes})


def rules(name: str, **changes: Any) -> Mapping[str, TensorRule]:
    return {rule.name: rule for rule in family(name, **changes).tensor_rules()}


def test_experts_are_stacked_in_their_order() -> None:
    found = rules("MixtralForCausalLM", num_local_experts=12)["blk.3.ffn_down_exps.weight"]
    assert found.shape == (12, 64, 96)
    assert found.sources[10] == "model.layers.3.block_sparse_moe.experts.10.w2.weight"
    assert found.transform.source_shapes(found.shape) == ((64, 96),) * 12


def test_the_type_rules_learn_of_experts() -> None:
    assert family("MixtralForCausalLM").hyperparameters.n_expert == 8
    assert family("Qwen2MoeForCausalLM").hyperparameters.n_expert == 60
    qwen3 = family("Qwen3MoeForCausalLM", norm_topk_prob=True, num_local_experts=6)  # transformers 5's name
    assert qwen3.hyperparameters.n_expert == 6
    assert family("GraniteMoeForCausalLM", num_local_experts=3).hyperparameters.n_expert == 3
    assert family("Qwen2ForCausalLM", num_key_value_heads=4).hyperparameters.n_expert == 0


@pytest.mark.parametrize("name", ["MixtralForCausalLM", "Qwen2MoeForCausalLM", "GraniteMoeForCausalLM"])
def test_routers_stay_f32(name: str) -> None:
    found = rules(name)
    assert {key for key, rule in found.items() if rule.f32} == {key for key in found if "ffn_gate_inp" in key}
    assert found["blk.0.ffn_gate_inp.weight"].f32


def test_fused_experts_are_taken_apart() -> None:
    found = rules("GraniteMoeForCausalLM", num_local_experts=3)
    gate, up = (found[f"blk.0.ffn_{part}_exps.weight"] for part in ("gate", "up"))
    assert gate.sources == up.sources
    assert gate.transform.source_shapes(gate.shape) == ((3, 192, 64),)
    assert gate.transform != up.transform


def test_qwen_has_biases_of_queries_keys_and_values_only() -> None:
    found = rules("Qwen2ForCausalLM")
    assert not found["blk.0.attn_q.bias"].optional
    assert "blk.0.attn_output.bias" not in found
    assert rules("Qwen3ForCausalLM")["blk.0.attn_q.bias"].optional


def test_qwen3_heads_have_a_size_of_their_own() -> None:
    found = rules("Qwen3ForCausalLM")
    assert found["blk.0.attn_q.weight"].shape == (4 * 128, 64)
    assert found["blk.0.attn_k_norm.weight"].shape == (128,)


def test_an_output_matrix_that_llama_cpp_wants_is_the_embedding() -> None:
    tied = rules("Olmo2ForCausalLM", tie_word_embeddings=True)
    assert tied["output.weight"].others[0].sources == ("model.embed_tokens.weight",)
    assert rules("Qwen2ForCausalLM", tie_word_embeddings=True)["output.weight"].optional


def test_a_tied_model_keeps_an_output_matrix_that_it_holds() -> None:
    assert family("Qwen2ForCausalLM", tie_word_embeddings=True).tensor_name("lm_head.weight") is not None
    assert family("Olmo2ForCausalLM", tie_word_embeddings=True).tensor_name("lm_head.weight") is not None


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("Qwen2ForCausalLM", {"use_sliding_window": True}, "use_sliding_window"),
        ("Qwen2ForCausalLM", {"head_dim": 32}, "heads together"),
        ("Qwen2ForCausalLM", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "llama3"),
        ("Qwen2MoeForCausalLM", {"norm_topk_prob": True}, "norm_topk_prob than false"),
        ("Qwen2MoeForCausalLM", {"decoder_sparse_step": 2}, "without experts"),
        ("Qwen3MoeForCausalLM", {}, "norm_topk_prob than true"),
        ("Qwen3MoeForCausalLM", {"norm_topk_prob": True, "mlp_only_layers": [0]}, "without experts"),
        ("Olmo2ForCausalLM", {"hidden_act": "gelu"}, "hidden_act"),
        ("SmolLM3ForCausalLM", {"no_rope_layers": [1, 0] * 4}, "every fourth"),
        ("SmolLM3ForCausalLM", {"no_rope_layer_interval": 2}, "every fourth"),
        ("SmolLM3ForCausalLM", {"use_sliding_window": True}, "use_sliding_window"),
        ("GraniteForCausalLM", {"logits_scaling": 0}, "logits_scaling 0"),
        ("GraniteForCausalLM", {"head_dim": 32}, "heads together"),
        ("GraniteMoeForCausalLM", {"num_local_experts": 0}, "num_local_experts"),
        ("MixtralForCausalLM", {"num_experts_per_tok": "two"}, "num_experts_per_tok"),
        ("OlmoForCausalLM", {"attention_bias": True}, "attention_bias"),
        ("OlmoeForCausalLM", {}, "as many of both"),
        ("OlmoeForCausalLM", {"num_key_value_heads": 4, "clip_qkv": 8.0}, "clip_qkv"),
        ("OlmoeForCausalLM", {"num_key_value_heads": 4, "norm_topk_prob": True}, "norm_topk_prob"),
        ("Olmo3ForCausalLM", {"rope_theta": 10000.0}, "sliding_attention"),
        ("SeedOssForCausalLM", {"attention_out_bias": True}, "attention_out_bias"),
        ("ArceeForCausalLM", {"mlp_bias": True}, "mlp_bias"),
        ("ArceeForCausalLM", {"hidden_act": "silu"}, "hidden_act"),
        ("ApertusForCausalLM", {"hidden_act": "silu"}, "hidden_act"),
        ("Ministral3ForCausalLM", {"sliding_window": 4096}, "sliding_window"),
        ("Ministral3ForCausalLM", {"rope_parameters": {"rope_type": "default"}}, "before YaRN"),
        ("Mistral3ForConditionalGeneration", {"text_config": {"model_type": "mistral4"}}, "mistral4"),
        ("LlavaForConditionalGeneration", {"text_config": {"model_type": "qwen2"}}, "qwen2"),
        ("Llama4ForCausalLM", {"attention_chunk_size": 4096}, "attention_chunk_size"),
        ("Llama4ForCausalLM", {"attn_temperature_tuning": False}, "attn_temperature_tuning"),
        ("Llama4ForCausalLM", {"use_qk_norm": False}, "use_qk_norm"),
        ("Llama4ForCausalLM", {"no_rope_layers": [1] * 8}, "no_rope_layers"),
        ("Llama4ForCausalLM", {"layer_types": ["full_attention"] * 8}, "layer_types"),
        ("Llama4ForCausalLM", {"moe_layers": [0, 1]}, "moe_layers"),
        ("IQuestCoderForCausalLM", {"clip_qkv": 8.0}, "clip_qkv"),
        ("NanbeigeForCausalLM", {"attention_bias": True}, "attention_bias"),
        ("PanguEmbeddedForCausalLM", {"bias": False}, "bias false"),
        ("MaincoderForCausalLM", {"use_qk_norm": False}, "use_qk_norm"),
        ("Jais2ForCausalLM", {"hidden_act": "relu2", "mlp_bias": False}, "mlp_bias false"),
        ("MellumForCausalLM", {"mlp_layer_types": ["dense"] * 8}, "mlp_layer_types"),
        ("MellumForCausalLM", {"layer_types": ["sliding_attention"] * 8}, "sliding_attention"),
        ("HrmTextForCausalLM", {"mlp_bias": True}, "mlp_bias"),
        ("Spark2_5ForCausalLM", {"hidden_act": "gelu", "gate_attn_act_mode": "none"}, "sigmoid"),
        ("JAISLMHeadModel", {"activation_function": "gelu"}, "swiglu"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(name: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        family(name, **changes).metadata()


def test_smollm3_may_list_the_layers_that_llama_cpp_assumes() -> None:
    assert family("SmolLM3ForCausalLM", no_rope_layers=[1, 1, 1, 0] * 2).gguf_name == "smollm3"


def test_the_text_model_of_a_mistral3_has_its_kinds_defaults() -> None:
    def keys(**fields: object) -> dict[str, object]:
        model = architecture_of({"architectures": ["Mistral3ForConditionalGeneration"], **fields})
        return {name.removeprefix("mistral3."): value.data for name, value in model.metadata().items()}

    epsilon = "attention.layer_norm_rms_epsilon"
    assert keys(model_type="mistral3")["embedding_length"] == 5120
    assert keys()["rope.freq_base"] == 1e9
    assert keys(text_config={"model_type": "mistral"})[epsilon] == pytest.approx(1e-6)
    assert keys(text_config={"model_type": "ministral3"})[epsilon] == pytest.approx(1e-5)
