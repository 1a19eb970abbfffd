"""Fields of config.json: absent and null are two things, and each family's class says what they mean."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.registry import architecture_of

SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 16,
    "vocab_size": 100,
}
NULL = ModelConfig({"it": None})
ABSENT = ModelConfig({})


def of(name: str, **changes: Any) -> Any:
    return architecture_of(SIZES | {"architectures": [name]} | changes)


def keys(name: str, **changes: Any) -> dict[str, Any]:
    """Return the metadata without the family's prefix."""
    return {key.partition(".")[2]: value.data for key, value in of(name, **changes).metadata().items()}


def test_an_absent_field_is_its_default_and_null_is_none() -> None:
    assert ABSENT.size("it", 3) == 3
    assert ABSENT.optional_size("it", 3) == 3
    assert NULL.optional_size("it", 3) is None
    assert NULL.optional_number("it", 3.0) is None
    assert NULL.optional_text("it", "x") is None
    assert NULL.optional_flag("it", default=True) is False
    assert ABSENT.optional_flag("it", default=True) is True
    assert NULL.first(["that", "it"]) == "it"
    assert ABSENT.first(["that", "it"]) is None


@pytest.mark.parametrize("getter", ["size", "count", "number", "text", "flag"])
def test_null_is_refused_where_a_value_is_needed(getter: str) -> None:
    with pytest.raises(CheckpointError, match="has it null"):
        getattr(NULL, getter)("it", 1)


@pytest.mark.parametrize("getter", ["size", "number", "text"])
def test_a_field_that_is_needed_is_named(getter: str) -> None:
    with pytest.raises(CheckpointError, match=r"config.json has no it\b"):
        getattr(ABSENT, getter)("it")


@pytest.mark.parametrize(
    ("name", "changes", "fact"),
    [
        ("MiniCPMForCausalLM", {"dim_model_base": 0}, "dim_model_base .* other than 0"),
        ("LlamaForCausalLM", {"rope_theta": -1}, "the rope_theta -1.0; rotations need more than 0"),
        ("LlamaForCausalLM", {"rope_parameters": {"rope_theta": 0}}, "the rope_theta 0.0"),
    ],
)
def test_numbers_with_which_nothing_can_be_computed(name: str, changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of(name, **changes).metadata()


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e39, float("inf"), float("nan"), True, "8", [1]])
def test_only_numbers_that_a_file_can_hold_are_numbers(value: Any) -> None:
    with pytest.raises(CheckpointError, match=r"it in config\.json .* a finite number of 32 bits"):
        ModelConfig({"it": value}).number("it")
    with pytest.raises(CheckpointError, match="list of finite numbers of 32 bits"):
        ModelConfig({"it": [1, value]}).numbers("it")
    with pytest.raises(CheckpointError, match="null for no bound"):
        ModelConfig({"it": [None, value]}).bounds("it", 2)


def test_other_names_of_fields_win() -> None:
    assert ModelConfig({"own": 1, "alias": 2}).with_aliases({"alias": "own"}).size("own") == 2
    assert ModelConfig({"own": 1}).with_aliases({"alias": "own"}).size("own") == 1
    assert of("MixtralForCausalLM", num_experts=6).hyperparameters.n_expert == 6
    assert of("T5EncoderModel", d_model=64, hidden_size=32).hyperparameters.n_embd == 32
    gpt2 = architecture_of({"architectures": ["GPT2LMHeadModel"], "n_layer": 5, "num_hidden_layers": 3})
    assert gpt2.hyperparameters.n_layer == 3
    assert of("BloomForCausalLM", n_embed=128, n_head=8).hyperparameters.n_embd == 128
    assert of("BloomForCausalLM", n_embed=None, n_head=8).hyperparameters.n_embd == 256


def test_a_section_stands_for_the_whole() -> None:
    outer = ModelConfig({"architectures": ["X"], "rope_theta": 1.0, "text_config": {"hidden_size": 8}})
    inner = outer.with_section("text_config")
    assert inner.size("hidden_size") == 8
    assert not inner.has("rope_theta")
    assert inner.architecture() == "X"
    nothing = ModelConfig({"text_config": None, "hidden_size": 4})
    assert nothing.with_section("text_config").size("hidden_size") == 4


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("LlamaForCausalLM", 16),
        ("MistralForCausalLM", 8),
        ("MixtralForCausalLM", 8),
        ("SmolLM3ForCausalLM", 4),
        ("GraniteForCausalLM", 16),
        ("GraniteMoeForCausalLM", 16),
        ("Olmo2ForCausalLM", 16),
        ("PhiForCausalLM", 16),
        ("Phi3ForCausalLM", 16),
        ("CohereForCausalLM", 16),
        ("Cohere2ForCausalLM", 16),
        ("InternLM2ForCausalLM", 16),
    ],
)
def test_key_value_heads(name: str, absent: int) -> None:
    more = {"hidden_act": "gelu_new"} if name == "PhiForCausalLM" else {}
    assert keys(name, **more)["attention.head_count_kv"] == absent
    assert keys(name, **more, num_key_value_heads=None)["attention.head_count_kv"] == 16


def test_key_value_heads_of_qwen() -> None:
    for name in ("Qwen2ForCausalLM", "Qwen3ForCausalLM"):
        heads = {"num_attention_heads": 64, "head_dim": 4 if "2" in name else 128}
        assert keys(name, **heads)["attention.head_count_kv"] == 32
        assert keys(name, **heads, num_key_value_heads=None)["attention.head_count_kv"] == 64


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("LlamaForCausalLM", "hidden_size"),
        ("LlamaForCausalLM", "tie_word_embeddings"),
        ("LlamaForCausalLM", "rms_norm_eps"),
        ("LlamaForCausalLM", "hidden_act"),
        ("LlamaForCausalLM", "max_position_embeddings"),
        ("LlamaForCausalLM", "rope_theta"),
        ("Qwen3ForCausalLM", "head_dim"),
        ("Qwen2MoeForCausalLM", "num_key_value_heads"),
        ("GemmaForCausalLM", "num_key_value_heads"),
        ("StableLmForCausalLM", "num_key_value_heads"),
        ("Starcoder2ForCausalLM", "num_key_value_heads"),
        ("Glm4ForCausalLM", "num_key_value_heads"),
        ("Gemma2ForCausalLM", "attn_logit_softcapping"),
        ("Gemma3ForCausalLM", "sliding_window"),
        ("Cohere2ForCausalLM", "sliding_window"),
        ("CohereForCausalLM", "logit_scale"),
        ("GraniteForCausalLM", "logits_scaling"),
        ("FalconForCausalLM", "num_hidden_layers"),
        ("GPTNeoXForCausalLM", "intermediate_size"),
        ("FalconForCausalLM", "layer_norm_epsilon"),
        ("BertModel", "intermediate_size"),
        ("RobertaModel", "pad_token_id"),
        ("T5ForConditionalGeneration", "feed_forward_proj"),
    ],
)
def test_null_that_no_class_takes_is_refused(name: str, field: str) -> None:
    def read() -> None:
        family = of(name, **{field: None})
        family.metadata()
        family.tensor_rules()

    with pytest.raises(CheckpointError, match=rf"{field} null"):
        read()


def test_what_null_switches_off() -> None:
    assert keys("Phi3ForCausalLM", sliding_window=None)["attention.sliding_window"] == 0
    falcon = {"architectures": ["FalconForCausalLM"], "num_kv_heads": 4}
    assert keys("FalconForCausalLM", **falcon, new_decoder_architecture=None)["attention.head_count_kv"] == 1
    assert keys("FalconForCausalLM", **falcon, multi_query=None)["attention.head_count_kv"] == 16
    assert keys("GPT2LMHeadModel", n_embd=64, n_head=4, n_inner=None)["feed_forward_length"] == 1024
    assert "logit_scale" not in keys("MPTForCausalLM", logit_scale=None, attn_config=None)
    for name in ("T5ForConditionalGeneration", "MT5ForConditionalGeneration"):
        assert keys(name, num_decoder_layers=None)["decoder_block_count"] == 2


def test_the_defaults_of_deepseeks_classes() -> None:
    latent = {"num_experts_per_tok": 2, "hidden_size": 256}
    v2, v3 = (keys(f"DeepseekV{n}ForCausalLM", **latent) for n in (2, 3))
    assert v2["attention.q_lora_rank"] == v3["attention.q_lora_rank"] == 1536
    assert "attention.q_lora_rank" not in keys("DeepseekV2ForCausalLM", **latent, q_lora_rank=None)
    assert (v2["expert_count"], v3["expert_count"]) == (64, 256)
    assert (v2["leading_dense_block_count"], v3["leading_dense_block_count"]) == (0, 3)
    assert (v3["expert_group_count"], v3["expert_weights_scale"]) == (8, 2.5)
    assert v3["expert_gating_func"] == 2, "sigmoid, which transformers' file doesn't say"


def test_t5_says_apart_whether_its_output_is_scaled() -> None:
    def scales(name: str, **changes: Any) -> bool:
        rules = {rule.name: rule for rule in of(name, **changes).tensor_rules()}
        return type(rules["dec.output_norm.weight"].transform).__name__ == "Scale"

    assert scales("T5ForConditionalGeneration")
    assert scales("T5ForConditionalGeneration", tie_word_embeddings=None)
    assert not scales("T5ForConditionalGeneration", tie_word_embeddings=False)
    assert not scales("T5ForConditionalGeneration", tie_word_embeddings=True, scale_decoder_outputs=False)
    assert not scales("MT5ForConditionalGeneration", tie_word_embeddings=True)
    assert scales("UMT5ForConditionalGeneration")
    assert not scales("UMT5ForConditionalGeneration", tie_word_embeddings=False)


@pytest.mark.parametrize(
    ("name", "changes", "fact"),
    [
        ("GemmaForCausalLM", {"head_dim": 16, "use_bidirectional_attention": True}, "looks back only"),
        ("BertModel", {"is_decoder": True}, "looks ahead"),
        ("T5EncoderModel", {"relative_attention_max_distance": 256}, "has 128"),
        ("DeepseekV3ForCausalLM", {"rope_interleave": False}, "rotates neighbours"),
        ("DeepseekV3ForCausalLM", {"rope_interleave": None}, "rotates neighbours"),
    ],
)
def test_fields_that_llama_cpp_has_one_value_for(name: str, changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError, match=fact):
        of(name, **changes)


def test_groups_that_deepseek_v2_does_not_choose_among() -> None:
    groups = {"num_experts_per_tok": 2, "n_group": 8, "topk_group": 3}
    assert "expert_group_count" not in keys("DeepseekV2ForCausalLM", **groups)
    limited = keys("DeepseekV2ForCausalLM", **groups, topk_method="group_limited_greedy")
    assert (limited["expert_group_count"], limited["expert_group_used_count"]) == (8, 3)
    assert keys("DeepseekV3ForCausalLM", **groups)["expert_group_count"] == 8
