"""Llama's cousins by their makers' code, and models that see or hear around a Llama."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.quantize.families.family import BPE_VOCABULARY, PICO, SPM_VOCABULARY, Config, Family, Shape, causal
from tests.quantize.families.llama_cousins import PIXTRAL, TIED_SCALE, YARN, with_vision

BPE: dict[str, Any] = PICO | BPE_VOCABULARY
SPM: dict[str, Any] = PICO | SPM_VOCABULARY
N_EMBD, N_FF, N_LAYER = 256, 512, 2
ALL_HEADS = {"num_key_value_heads": 4}
SIGHT = PIXTRAL | {"model_type": "clip_vision_model", "projection_dim": 32}


def bare_llama() -> tuple[Config, dict[str, Shape]]:
    """Return the shapes of a Llama that was saved without its output matrix."""
    config, shapes = shapes_of_llama("LlamaModel", BPE, head_dim=64, rope_theta=10000.0)()
    del shapes["lm_head.weight"]
    return config, {name.removeprefix("model."): shape for name, shape in shapes.items()}


def bidirectional_llama() -> tuple[Config, dict[str, Shape]]:
    """Return the shapes of a Llama whose tokens see those behind them."""
    config, shapes = bare_llama()
    return config | {"architectures": ["LlamaBidirectionalModel"], "is_causal": False}, shapes


def shapes_of_llama(
    name: str,
    vocabulary: dict[str, Any],
    *,
    biased: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    more: dict[str, Shape] | None = None,
    **fields: Any,
) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return a maker of Llama's configuration and names.

    `biased` are the modules with a bias, `without` those that a layer lacks, `more` further ones.
    """

    def make() -> tuple[Config, dict[str, Shape]]:
        config = {"architectures": [name], "hidden_act": "silu", "rms_norm_eps": 1e-5, **vocabulary, **fields}
        n_vocab, n_heads = config["vocab_size"], config["num_attention_heads"]
        dim = config.get("head_dim", N_EMBD // n_heads)
        n_q, n_kv = n_heads * dim, config["num_key_value_heads"] * dim
        layer: dict[str, Shape] = {
            "input_layernorm": (N_EMBD,),
            "post_attention_layernorm": (N_EMBD,),
            "self_attn.q_proj": (n_q, N_EMBD),
            "self_attn.k_proj": (n_kv, N_EMBD),
            "self_attn.v_proj": (n_kv, N_EMBD),
            "self_attn.o_proj": (N_EMBD, n_q),
            "mlp.gate_proj": (N_FF, N_EMBD),
            "mlp.up_proj": (N_FF, N_EMBD),
            "mlp.down_proj": (N_EMBD, N_FF),
            **(more or {}),
        }
        shapes: dict[str, Shape] = {
            "model.embed_tokens.weight": (n_vocab, N_EMBD),
            "model.norm.weight": (N_EMBD,),
            "lm_head.weight": (n_vocab, N_EMBD),
        }
        if "norm" in biased:
            shapes["model.norm.bias"] = (N_EMBD,)
        layer = {part: shape for part, shape in layer.items() if part not in without}
        for i in range(N_LAYER):
            for part, shape in layer.items():
                shapes[f"model.layers.{i}.{part}.weight"] = shape
                if part.endswith(biased or ("none",)):
                    shapes[f"model.layers.{i}.{part}.bias"] = shape[:1]
        if config.get("tie_word_embeddings"):
            del shapes["lm_head.weight"]
        return {key: value for key, value in config.items() if value is not None}, shapes

    return make


EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256}
KINDS = ["sliding_attention", "full_attention"]


def maple_experts() -> dict[str, Shape]:
    """Return the tensors that a layer of Maple has instead of a feed-forward."""
    shapes: dict[str, Shape] = {
        "self_attn.q_norm": (64,),
        "self_attn.k_norm": (64,),
        "mlp.gate": (4, N_EMBD),
    }
    for expert in range(4):
        for part in ("gate_proj", "up_proj"):
            shapes[f"mlp.experts.{expert}.{part}"] = (256, N_EMBD)
        shapes[f"mlp.experts.{expert}.down_proj"] = (N_EMBD, 256)
    return shapes


def talkie_shapes() -> tuple[Config, dict[str, Shape]]:
    """Return Talkie's shapes, by the names that its converter reads."""
    config = {"architectures": ["TalkieForCausalLM"], **BPE, "head_dim": 64, "rope_theta": 1000000.0}
    shapes: dict[str, Shape] = {
        "model.embed.weight": (410, N_EMBD),
        "lm_head": (410, N_EMBD),
        "lm_head_gain.w_g": (1,),
    }
    for layer in range(N_LAYER):
        prefix = f"model.blocks.{layer}"
        for name, rows in {"query": 256, "key": 128, "value": 128, "resid": 256}.items():
            shapes[f"{prefix}.attn.attn_{name}.weight"] = (rows, N_EMBD)
        shapes |= {
            f"{prefix}.attn.head_gain.head_g": (4,),
            f"{prefix}.mlp.mlp_gate.weight": (N_FF, N_EMBD),
            f"{prefix}.mlp.mlp_linear.weight": (N_FF, N_EMBD),
            f"{prefix}.mlp.mlp_resid.weight": (N_EMBD, N_FF),
        }
        for gain in ("attn_gain", "mlp_gain", "embed_skip"):
            shapes[f"{prefix}.{gain}.a_g"] = (1,)
    return config, shapes


def spark_shapes() -> tuple[Config, dict[str, Shape]]:
    """Return Spark X2.5's shapes: q, k and v in one matrix, and a gate of each head."""
    config, shapes = shapes_of_llama(
        "Spark2_5ForCausalLM",
        BPE,
        more={"self_attn.q_k_v_proj": (512, N_EMBD), "self_attn.g_proj": (4, N_EMBD)},
        head_dim=64,
        hidden_act="gelu",
        gate_attn_act_mode="sigmoid",
        headwise_attn_output_gate=True,
        layer_types=KINDS,
        sliding_window=16,
        rope_parameters={
            "full_attention": {"rope_theta": 500000.0, "partial_rotary_factor": 0.5},
            "sliding_attention": {"rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        },
    )()
    fused = (".q_proj.weight", ".k_proj.weight", ".v_proj.weight")
    return config, {name: shape for name, shape in shapes.items() if not name.endswith(fused)}


def jais_shapes() -> tuple[Config, dict[str, Shape]]:
    """Return Jais' shapes: GPT-2's, with a second matrix beside the first of the feed-forward."""
    config = {
        "architectures": ["JAISLMHeadModel"],
        **BPE_VOCABULARY,
        "n_embd": N_EMBD,
        "n_head": 4,
        "n_layer": N_LAYER,
        "n_inner": N_FF,
        "n_positions": 512,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "swiglu",
        "position_embedding_type": "alibi",
        "scale_qk_dot_by_d": True,
        "embeddings_scale": 2.0,
        "width_scale": 0.25,
    }
    layer: dict[str, Shape] = {
        "attn.c_attn": (N_EMBD, 3 * N_EMBD),
        "attn.c_proj": (N_EMBD, N_EMBD),
        "mlp.c_fc": (N_EMBD, N_FF),
        "mlp.c_fc2": (N_EMBD, N_FF),
        "mlp.c_proj": (N_FF, N_EMBD),
        "ln_1": (N_EMBD,),
        "ln_2": (N_EMBD,),
    }
    shapes: dict[str, Shape] = {
        "transformer.wte.weight": (410, N_EMBD),
        "transformer.ln_f.weight": (N_EMBD,),
        "transformer.ln_f.bias": (N_EMBD,),
        "lm_head.weight": (410, N_EMBD),
    }
    for i in range(N_LAYER):
        for name, shape in layer.items():
            shapes[f"transformer.h.{i}.{name}.weight"] = shape
            shapes[f"transformer.h.{i}.{name}.bias"] = shape[-1:]
    return config, shapes


FAMILIES: tuple[Family, ...] = (
    Family("llama-vectors", "LlamaModel", shapes=bare_llama, embedding_scale=TIED_SCALE),
    Family(
        "llama-embed",
        "LlamaBidirectionalModel",
        shapes=bidirectional_llama,
        kind="encoder",
    ),
    Family(
        "iquestcoder",
        "IQuestCoderForCausalLM",
        causal("IQuestCoderConfig", **BPE, head_dim=32),
        config={"architectures": ["IQuestCoderForCausalLM"]},
        dtype="BF16",
    ),
    Family(
        "internlm3",
        "InternLM3ForCausalLM",
        causal("InternLM3Config", **SPM, head_dim=64, attention_bias=True, mlp_bias=True),
        "spm",
        config={"architectures": ["InternLM3ForCausalLM"]},
    ),
    Family(
        "llava",
        "LlavaForConditionalGeneration",
        with_vision("LlavaForConditionalGeneration", "LlavaConfig", "LlamaConfig", BPE, vision_config=SIGHT),
    ),
    Family(
        "jais2",
        "Jais2ForCausalLM",
        causal("Jais2Config", **BPE),
    ),
    Family(
        "nanbeige",
        "NanbeigeForCausalLM",
        shapes=shapes_of_llama(
            "NanbeigeForCausalLM",
            BPE,
            num_loops=2,
            skip_loop_final_norm=False,
            head_dim=32,
            rope_theta=70000000.0,
        ),
    ),
    Family(
        "orion",
        "OrionForCausalLM",
        tokenizer="spm",
        shapes=shapes_of_llama("OrionForCausalLM", SPM | ALL_HEADS, biased=("norm",)),
    ),
    Family(
        "pangu-embedded",
        "PanguEmbeddedForCausalLM",
        tokenizer="spm",
        shapes=shapes_of_llama(
            "PanguEmbeddedForCausalLM",
            SPM,
            biased=("q_proj", "k_proj", "v_proj", "o_proj"),
            bias=True,
            rope_theta=16000000.0,
        ),
    ),
    Family(
        "maincoder",
        "MaincoderForCausalLM",
        shapes=shapes_of_llama(
            "MaincoderForCausalLM",
            BPE,
            more={"self_attn.q_norm": (64,), "self_attn.k_norm": (64,)},
            head_dim=64,
            use_qk_norm=True,
            rope_theta=1000000.0,
            tie_word_embeddings=True,
        ),
        embedding_scale=TIED_SCALE,
    ),
    Family(
        "mellum",
        "MellumForCausalLM",
        causal(
            "MellumConfig",
            **BPE | EXPERTS,
            head_dim=64,
            sliding_window=16,
            layer_types=KINDS,
            rope_parameters={
                "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0},
                "full_attention": YARN,
            },
        ),
        dtype="BF16",
    ),
    Family(
        "maple",
        "MapleForCausalLM",
        shapes=shapes_of_llama(
            "MapleForCausalLM",
            BPE | EXPERTS,
            without=("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
            more=maple_experts(),
            head_dim=64,
            sliding_window=16,
            layer_types=KINDS,
            norm_topk_prob=True,
            nope_on_global_attention=True,
            rope_parameters={"rope_theta": 50000.0, "partial_rotary_factor": 0.5},
        ),
    ),
    Family(
        "hrm-text",
        "HrmTextForCausalLM",
        causal("HrmTextConfig", **BPE, head_dim=64, H_cycles=2, L_cycles=2),
        config={"num_key_value_heads": None},
    ),
    Family("talkie", "TalkieForCausalLM", shapes=talkie_shapes),
    Family("spark2_5", "Spark2_5ForCausalLM", shapes=spark_shapes),
    Family("jais", "JAISLMHeadModel", shapes=jais_shapes),
)
