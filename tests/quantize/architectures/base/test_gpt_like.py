"""GPT-2's generation: names that changed, tensors no one needs, heads put in order, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.architectures.base.gpt_like import fused_qkv
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.safetensors import SafetensorsSource
from tests.pico import write_safetensors

GPT2: dict[str, Any] = {"architectures": ["GPT2LMHeadModel"], "n_embd": 64, "n_head": 4, "n_layer": 2}
NEOX: dict[str, Any] = {
    "architectures": ["GPTNeoXForCausalLM"],
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
}
FALCON: dict[str, Any] = {**NEOX, "architectures": ["FalconForCausalLM"]}
OLD_FALCON: dict[str, Any] = {
    "architectures": ["RWForCausalLM"],
    "hidden_size": 64,
    "n_head": 4,
    "n_layer": 2,
}
MPT: dict[str, Any] = {"architectures": ["MPTForCausalLM"], "d_model": 64, "n_heads": 4, "n_layers": 2}
BLOOM: dict[str, Any] = {"architectures": ["BloomModel"], "n_embed": 64, "n_head": 4, "n_layer": 2}


def metadata(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value.data for key, value in architecture_of(config | changes).metadata().items()}


@pytest.mark.parametrize(("n_head", "n_head_kv"), [(4, 4), (4, 2), (4, 1)])
def test_fused_heads_come_apart(n_head: int, n_head_kv: int, tmp_path: Path) -> None:
    head_dim, queries = 2, n_head // n_head_kv
    labels = [
        [f"{part}{group}{i}" for part, n in (("q", queries), ("k", 1), ("v", 1)) for i in range(n * head_dim)]
        for group in range(n_head_kv)
    ]
    fused = [label for group in labels for label in group]
    values = np.arange(len(fused), dtype=np.float32)
    write_safetensors(tmp_path / "x.safetensors", {"bias": values, "weight": values[:, None].repeat(3, 1)})
    source = SafetensorsSource([tmp_path / "x.safetensors"])
    transform = fused_qkv(n_head, n_head_kv, head_dim)
    bias = transform.read(source, ["bias"], 0, len(fused))
    in_order = [fused[int(value)] for value in bias]
    assert in_order == sorted(fused, key=lambda label: "qkv".index(label[0]))
    rows = [transform.read(source, ["weight"], at, at + 1) for at in range(len(fused))]
    np.testing.assert_array_equal(np.concatenate(rows)[:, 0], bias)
    assert transform.source_shapes((transform.of, 64)) == ((len(fused), 64),)


@pytest.mark.parametrize(("config", "norm"), [(GPT2, "ln_1"), (BLOOM, "input_layernorm")])
def test_bare_names_are_the_full_ones(config: dict[str, Any], norm: str) -> None:
    architecture = architecture_of(config)
    assert architecture.tensor_name(f"h.0.{norm}.weight") == f"transformer.h.0.{norm}.weight"
    assert architecture.tensor_name("transformer.ln_f.bias") == "transformer.ln_f.bias"
    assert architecture.tensor_name("lm_head.weight") == "lm_head.weight"


def test_causal_masks_and_copies_of_the_embedding_are_left_out() -> None:
    gpt2 = architecture_of(GPT2)
    assert gpt2.tensor_name("h.1.attn.bias") is None
    assert gpt2.tensor_name("transformer.h.1.attn.masked_bias") is None
    assert gpt2.tensor_name("h.1.attn.c_attn.bias") == "transformer.h.1.attn.c_attn.bias"
    assert architecture_of(NEOX).tensor_name("gpt_neox.layers.0.attention.bias") is None
    assert architecture_of(NEOX).tensor_name("lm_head.weight") == "embed_out.weight"
    tied = architecture_of(NEOX | {"tie_word_embeddings": True})
    assert tied.tensor_name("embed_out.weight") is None
    (output,) = [rule for rule in tied.tensor_rules() if rule.name == "output.weight"]
    assert output.sources == ("gpt_neox.embed_in.weight",)


def test_gpt2_sizes_under_every_name() -> None:
    assert metadata(GPT2)["gpt2.context_length"] == 1024
    assert metadata(GPT2, n_ctx=512)["gpt2.context_length"] == 512
    assert metadata(GPT2, n_positions=256, n_ctx=512)["gpt2.context_length"] == 256
    assert metadata(GPT2)["gpt2.feed_forward_length"] == 256
    assert metadata(GPT2, n_inner=96)["gpt2.feed_forward_length"] == 96


def test_neox_rotation() -> None:
    assert metadata(NEOX)["gptneox.rope.dimension_count"] == 4
    assert metadata(NEOX, rotary_pct=1.0)["gptneox.rope.dimension_count"] == 16
    newer = {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 10000}}
    assert metadata(NEOX, **newer)["gptneox.rope.dimension_count"] == 8
    assert "gptneox.rope.freq_base" not in metadata(NEOX, **newer)
    assert metadata(NEOX, rotary_emb_base=500)["gptneox.rope.freq_base"] == 500.0


def test_falcon_key_value_heads() -> None:
    def heads(config: dict[str, Any], **changes: Any) -> int:
        count: int = metadata(config, **changes)["falcon.attention.head_count_kv"]
        return count

    assert heads(FALCON) == 1
    assert heads(FALCON, num_kv_heads=4) == 1  # transformers writes so for multi_query
    assert heads(FALCON, multi_query=False) == 4
    assert heads(FALCON, new_decoder_architecture=True, num_kv_heads=2) == 2
    assert heads(OLD_FALCON, multi_query=True) == 1
    assert heads(OLD_FALCON, n_head_kv=2) == 2


def test_falcon_norms() -> None:
    def norms(**changes: Any) -> dict[str, str]:
        rules = architecture_of(FALCON | changes).tensor_rules()
        return {rule.name: rule.sources[0] for rule in rules if rule.name.startswith("blk.1.attn_norm")}

    assert norms()["blk.1.attn_norm.weight"] == "transformer.h.1.input_layernorm.weight"
    two = norms(new_decoder_architecture=True)
    assert two["blk.1.attn_norm.weight"] == "transformer.h.1.ln_mlp.weight"
    assert two["blk.1.attn_norm_2.bias"] == "transformer.h.1.ln_attn.bias"
    assert len(norms(new_decoder_architecture=True, num_ln_in_parallel_attn=1)) == 2


def test_mpt_attention() -> None:
    assert metadata(MPT)["mpt.attention.max_alibi_bias"] == 8.0
    assert "mpt.attention.clamp_kqv" not in metadata(MPT)
    keys = metadata(MPT, attn_config={"alibi": False, "clip_qkv": 6, "kv_n_heads": 2})
    assert keys["mpt.attention.max_alibi_bias"] == 0.0
    assert keys["mpt.attention.clamp_kqv"] == 6.0
    assert keys["mpt.attention.head_count_kv"] == 2
    one = metadata(MPT, attn_config={"attn_type": "multiquery_attention"})
    assert one["mpt.attention.head_count_kv"] == 1


@pytest.mark.parametrize(
    ("config", "changes", "reason"),
    [
        (GPT2, {"n_head": 5}, "heads must divide"),
        (GPT2, {"activation_function": "relu"}, "relu"),
        (GPT2, {"scale_attn_weights": False}, "without a scale"),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "by layer"),
        (NEOX, {"attention_bias": False}, "without biases"),
        (FALCON, {"alibi": True}, "alibi"),
        (FALCON, {"bias": True}, "biases"),
        (FALCON, {"parallel_attn": False}, "after attention"),
        (MPT, {"logit_scale": "inv_sqrt_d_model"}, "scaled logits"),
        (MPT, {"attn_config": {"rope": True}}, "rotary"),
        (MPT, {"attn_config": {"qk_ln": True}}, "qk_ln"),
        (MPT, {"attn_config": {"kv_n_heads": 3}}, "key-value heads"),
        (BLOOM, {"apply_residual_connection_post_layernorm": True}, "after the norm"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    config: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        architecture_of(config | changes)
