"""Decoders of one line each: StarCoder, CodeShell, Refact, Arctic, DBRX, Grok, BitNet and others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from quantize.checkpoint.checkpoint import open_weights
from tests.pico import write_json, write_safetensors
from tests.quantize.families.family import (
    BPE_VOCABULARY,
    PICO,
    SPM_VOCABULARY,
    Config,
    Family,
    Shape,
    causal,
)

BPE = PICO | BPE_VOCABULARY
SPM = PICO | SPM_VOCABULARY
N_EMBD, N_FF, N_LAYER, N_KV = 256, 512, 2, 128
BIG_CODE = {"n_embd": 256, "n_head": 4, "n_layer": 2, "n_positions": 512}
Layers = Mapping[str, Shape]


def shapes(
    config: Config, outer: Layers, layer: str, inner: Layers, biases: tuple[str, ...] = ()
) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return a maker of the configuration, and of tensors: modules' weights, with biases of some."""

    def make() -> tuple[Config, dict[str, Shape]]:
        modules = dict(outer)
        for at in range(N_LAYER):
            modules |= {f"{layer}.{at}.{name}": shape for name, shape in inner.items()}
        tensors: dict[str, Shape] = {}
        for name, shape in modules.items():
            tensors[f"{name}.weight"] = shape
            if any(part in name for part in biases):
                tensors[f"{name}.bias"] = shape[:1]
        return config, tensors

    return make


ATTENTION: dict[str, Shape] = {
    "self_attn.q_proj": (N_EMBD, N_EMBD),
    "self_attn.k_proj": (N_KV, N_EMBD),
    "self_attn.v_proj": (N_KV, N_EMBD),
    "self_attn.o_proj": (N_EMBD, N_EMBD),
}
NORMS: dict[str, Shape] = {"input_layernorm": (N_EMBD,), "post_attention_layernorm": (N_EMBD,)}
MLP: dict[str, Shape] = {
    "mlp.gate_proj": (N_FF, N_EMBD),
    "mlp.up_proj": (N_FF, N_EMBD),
    "mlp.down_proj": (N_EMBD, N_FF),
}


def llama_outer(n_vocab: int, *, tied: bool = False) -> dict[str, Shape]:
    outer: dict[str, Shape] = {"model.embed_tokens": (n_vocab, N_EMBD), "model.norm": (N_EMBD,)}
    return outer if tied else {**outer, "lm_head": (n_vocab, N_EMBD)}


def experts(prefix: str, names: tuple[str, str, str], n_ff: int = N_FF, n: int = 4) -> dict[str, Shape]:
    """Return the shapes of experts' gate, up and down under their names."""
    gate, up, down = names
    found: dict[str, Shape] = {}
    for at in range(n):
        found[f"{prefix}.{at}.{gate}"] = found[f"{prefix}.{at}.{up}"] = (n_ff, N_EMBD)
        found[f"{prefix}.{at}.{down}"] = (N_EMBD, n_ff)
    return found


codeshell = shapes(
    {
        "architectures": ["CodeShellForCausalLM"],
        "model_type": "codeshell",
        **BIG_CODE,
        **BPE_VOCABULARY,
        "activation_function": "gelu_pytorch_tanh",
        "group_query_attention": True,
        "num_query_groups": 2,
        "layer_norm_epsilon": 1e-5,
        "n_inner": 1024,
        "position_embedding_type": "rope",
        "tie_word_embeddings": False,
    },
    {"transformer.wte": (410, N_EMBD), "transformer.ln_f": (N_EMBD,), "lm_head": (410, N_EMBD)},
    "transformer.h",
    {
        "ln_1": (N_EMBD,),
        "ln_2": (N_EMBD,),
        "attn.c_attn": (2 * N_EMBD, N_EMBD),
        "attn.c_proj": (N_EMBD, N_EMBD),
        "mlp.c_fc": (1024, N_EMBD),
        "mlp.c_proj": (N_EMBD, 1024),
    },
    ("ln_", "attn.", "mlp."),
)
refact = shapes(
    {
        "architectures": ["GPTRefactForCausalLM"],
        "model_type": "gpt_refact",
        **BIG_CODE,
        **BPE_VOCABULARY,
        "layer_norm_epsilon": 1e-5,
        "multi_query": True,
        "tie_word_embeddings": False,
    },
    {"transformer.wte": (410, N_EMBD), "ln_f": (N_EMBD,), "lm_head": (410, N_EMBD)},
    "transformer.h",
    {
        "ln_1": (N_EMBD,),
        "ln_2": (N_EMBD,),
        "attn.q": (N_EMBD, N_EMBD),
        "attn.kv": (128, N_EMBD),
        "attn.c_proj": (N_EMBD, N_EMBD),
        "mlp.gate_up_proj": (1536, N_EMBD),
        "mlp.c_proj": (N_EMBD, 768),
    },
)
rugpt3xl = shapes(
    {
        "architectures": ["RuGPT3XLForCausalLM"],
        "model_type": "rugpt3xl",
        **{name: size for name, size in BPE.items() if name != "num_key_value_heads"},
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-5,
        "sparse_mode": "none",
        "tie_word_embeddings": False,
    },
    {**llama_outer(410), "model.embed_positions": (512, N_EMBD)},
    "model.layers",
    {
        **NORMS,
        **dict.fromkeys(ATTENTION, (N_EMBD, N_EMBD)),
        "mlp.up_proj": (N_FF, N_EMBD),
        "mlp.down_proj": (N_EMBD, N_FF),
    },
    ("norm", "self_attn.", "mlp."),
)
arctic = shapes(
    {
        "architectures": ["ArcticForCausalLM"],
        "model_type": "arctic",
        **SPM,
        "hidden_act": "silu",
        "moe_layer_frequency": 1,
        "num_experts_per_tok": 2,
        "num_local_experts": 4,
        "parallel_attn_mlp_res": True,
        "use_residual": True,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    },
    llama_outer(461),
    "model.layers",
    {
        **NORMS,
        **ATTENTION,
        "residual_layernorm": (N_EMBD,),
        **{f"residual_mlp.w{at}": (N_EMBD, N_EMBD) for at in (1, 2, 3)},
        "block_sparse_moe.gate": (4, N_EMBD),
        **experts("block_sparse_moe.experts", ("w1", "w3", "w2")),
    },
)


def smallthinker(*, has_window: bool) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return a maker of the 21B's layout, with windows, or of the 4B's, tied and without."""
    layout = [0, 1] if has_window else [0, 0]
    config = {
        "architectures": ["SmallThinkerForCausalLM"],
        "model_type": "smallthinker",
        **{name: size for name, size in BPE.items() if name != "intermediate_size"},
        "head_dim": 128,
        "moe_ffn_hidden_size": N_FF,
        "moe_num_primary_experts": 4,
        "moe_num_active_primary_experts": 2,
        "moe_primary_router_apply_softmax": has_window,
        "rms_norm_eps": 1e-6,
        "rope_layout": layout if has_window else [1, 1],
        "rope_theta": 1.5e6,
        "sliding_window_layout": layout,
        "sliding_window_size": 4096,
        "tie_word_embeddings": not has_window,
    }
    inner: dict[str, Shape] = {
        **NORMS,
        "self_attn.q_proj": (N_FF, N_EMBD),
        "self_attn.k_proj": (256, N_EMBD),
        "self_attn.v_proj": (256, N_EMBD),
        "self_attn.o_proj": (N_EMBD, N_FF),
        "block_sparse_moe.primary_router": (4, N_EMBD),
        **experts("block_sparse_moe.experts", ("gate", "up", "down")),
    }
    return shapes(config, llama_outer(410, tied=not has_window), "model.layers", inner)


GROK: Config = {
    **PICO,
    "hidden_act": "gelu",
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    "rms_norm_eps": 1e-5,
    "attn_output_multiplier": 0.125,
    "embedding_multiplier_scale": 8.0,
    "output_multiplier_scale": 0.5,
}
grok1 = shapes(
    {
        **GROK,
        **SPM_VOCABULARY,
        "architectures": ["GrokForCausalLM"],
        "model_type": "grok",
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    },
    {"transformer.in_out_embed": (461, N_EMBD), "transformer.rms_norm": (N_EMBD,)},
    "transformer.decoder_layer",
    {
        **{f"rms_norm{at}": (N_EMBD,) for at in ("", "_1", "_2", "_3")},
        "multi_head_attention.query": (N_EMBD, N_EMBD),
        "multi_head_attention.key": (N_KV, N_EMBD),
        "multi_head_attention.value": (N_KV, N_EMBD),
        "multi_head_attention.linear": (N_EMBD, N_EMBD),
        "router": (4, N_EMBD),
        **experts("moe", ("linear", "linear_v", "linear_1")),
    },
)
grok2 = shapes(
    {
        **GROK,
        **BPE_VOCABULARY,
        "architectures": ["Grok1ForCausalLM"],
        "model_type": "grok",
        "head_dim": 64,
        "moe_intermediate_size": 256,
        "residual_moe": True,
        "rope_theta": 208533496.0,
        "rope_type": "original",
        "scaling_factor": 16.0,
        "original_max_position_embeddings": 32,
        "extrapolation_factor": 1.0,
        "attn_factor": 1.0,
        "beta_fast": 8,
        "beta_slow": 1,
        "attn_temperature_len": 1024,
        "attn_logit_softcapping": 30.0,
        "router_logit_softcapping": 30.0,
        "final_logit_softcapping": 50,
        "tie_word_embeddings": False,
    },
    llama_outer(410),
    "model.layers",
    {
        **{f"{name}_norm": (N_EMBD,) for name in ("pre_attn", "post_attn", "pre_moe", "post_moe")},
        **ATTENTION,
        **MLP,
        "block_sparse_moe.gate": (4, N_EMBD),
        **experts("block_sparse_moe.experts", ("w1", "w3", "w2"), 256),
    },
)


def template_in_its_file(directory: Path) -> None:
    """Move the chat template to a file of its own, for which the converter looks."""
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    (directory / "chat_template.jinja").write_text(config.pop("chat_template"), encoding="utf-8")
    write_json(path, config)


bitnet = shapes(
    {
        "architectures": ["BitnetForCausalLM"],
        "model_type": "llama",
        **SPM,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "weight_bits": 1,
        "input_bits": 8,
    },
    llama_outer(461, tied=True),
    "model.layers",
    {**NORMS, **ATTENTION, **MLP, "self_attn.inner_attn_ln": (N_EMBD,), "mlp.ffn_layernorm": (N_FF,)},
)
N_CHAMELEON = 8448


def chameleon(*, is_swin: bool) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return a maker of a vocabulary with all images' tokens; the 34B's norms are behind the layers."""
    config = {
        "architectures": ["ChameleonForConditionalGeneration"],
        "model_type": "chameleon",
        **BPE,
        "vocab_size": N_CHAMELEON,
        "num_key_value_heads": 4,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "swin_norm": is_swin,
        "tie_word_embeddings": False,
    }
    attention = dict.fromkeys(ATTENTION, (N_EMBD, N_EMBD))
    inner = {**NORMS, **attention, **MLP, "self_attn.q_norm": (4, 64), "self_attn.k_norm": (4, 64)}
    make = shapes(config, llama_outer(N_CHAMELEON), "model.layers", inner)

    def with_shifts() -> tuple[Config, dict[str, Shape]]:
        config, tensors = make()
        norms = {name: shape for name, shape in tensors.items() if "_norm.weight" in name}
        tensors |= {name.replace(".weight", ".bias"): shape for name, shape in norms.items()}
        return config, tensors | {"model.vqmodel.quant_conv.weight": (8, 8, 1, 1)}

    return with_shifts


def equal_heads(directory: Path) -> None:
    """Give every head the norm of the first one, as models of one shard have it."""
    path = directory / "model.safetensors"
    with closing(open_weights(directory)) as source:
        tensors = {name: source.rows(name, 0, entry.shape[0]) for name, entry in source.entries.items()}
    for name, values in tensors.items():
        if "q_norm" in name or "k_norm" in name:
            one = values[0] / 8 if name.endswith("bias") else 1 + values[0] / 16
            tensors[name] = np.repeat(one[None], len(values), axis=0)
    write_safetensors(path, tensors)


N_HEADS, WIDTHS = ((2, 4), (256, 512))
openelm_config: Config = {
    "architectures": ["OpenELMForCausalLM"],
    "model_type": "openelm",
    **SPM_VOCABULARY,
    "activation_fn_name": "swish",
    "ffn_dim_divisor": 256,
    "ffn_multipliers": [1.0, 2.0],
    "ffn_with_glu": True,
    "head_dim": 64,
    "max_context_length": 512,
    "model_dim": N_EMBD,
    "normalize_qk_projections": True,
    "num_gqa_groups": 2,
    "num_kv_heads": [1, 2],
    "num_query_heads": list(N_HEADS),
    "num_transformer_layers": N_LAYER,
    "qkv_multipliers": [0.5, 1.0],
    "rope_freq_constant": 10000,
    "share_input_output_layers": True,
}


def openelm() -> tuple[Config, dict[str, Shape]]:
    tensors: dict[str, Shape] = {
        "transformer.token_embeddings.weight": (461, N_EMBD),
        "transformer.norm.weight": (N_EMBD,),
    }
    for layer, (n_head, width) in enumerate(zip(N_HEADS, WIDTHS, strict=True)):
        modules: dict[str, Shape] = {
            "attn_norm": (N_EMBD,),
            "ffn_norm": (N_EMBD,),
            "attn.qkv_proj": (2 * n_head * 64, N_EMBD),
            "attn.out_proj": (N_EMBD, n_head * 64),
            "attn.q_norm": (64,),
            "attn.k_norm": (64,),
            "ffn.proj_1": (2 * width, N_EMBD),
            "ffn.proj_2": (N_EMBD, width),
        }
        tensors |= {f"transformer.layers.{layer}.{name}.weight": shape for name, shape in modules.items()}
    return openelm_config, tensors


def nemotron_nas() -> tuple[Config, dict[str, Shape]]:
    """Return layers that attend, have one matrix instead, or none; one is empty."""
    sizes = [(2, 512), (None, 256), (0, 512), (0, 0), (4, 512)]
    blocks = [
        {
            "attention": {
                "n_heads_in_group": 4 // n_kv if n_kv else None,
                "no_op": n_kv == 0,
                "replace_with_linear": n_kv is None,
                "num_sink_tokens": None,
                "window_length": None,
            },
            "ffn": {"ffn_mult": width * 3 / 512 if width else None, "no_op": not width},
        }
        for n_kv, width in sizes
    ]
    tensors: dict[str, Shape] = {f"{name}.weight": shape for name, shape in llama_outer(410).items()}
    for layer, (n_kv, width) in enumerate(sizes):
        modules: dict[str, Shape] = {}
        if n_kv is None:
            modules = {"input_layernorm": (N_EMBD,), "self_attn.linear_attn": (N_EMBD, N_EMBD)}
        elif n_kv:
            rows = (64 * n_kv, N_EMBD)
            modules = {"input_layernorm": (N_EMBD,), **ATTENTION}
            modules |= {"self_attn.k_proj": rows, "self_attn.v_proj": rows}
        if width:
            modules |= {"post_attention_layernorm": (N_EMBD,), "mlp.down_proj": (N_EMBD, width)}
            modules |= {"mlp.gate_proj": (width, N_EMBD), "mlp.up_proj": (width, N_EMBD)}
        tensors |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in modules.items()}
    config = {
        **{name: size for name, size in BPE.items() if name != "num_key_value_heads"},
        "architectures": ["DeciLMForCausalLM"],
        "model_type": "llama",
        "block_configs": blocks,
        "hidden_act": "silu",
        "intermediate_size": None,
        "num_hidden_layers": len(sizes),
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
        "tie_word_embeddings": False,
    }
    return {key: value for key, value in config.items() if value is not None}, tensors


def decilm() -> tuple[Config, dict[str, Shape]]:
    config = {
        **{name: size for name, size in SPM.items() if name != "num_key_value_heads"},
        "architectures": ["DeciLMForCausalLM"],
        "model_type": "deci",
        "hidden_act": "silu",
        "num_key_value_heads_per_layer": [4, 1],
        "rms_norm_eps": 1e-5,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    }
    make = shapes(
        {key: value for key, value in config.items() if value is not None},
        llama_outer(461),
        "model.layers",
        {**NORMS, **ATTENTION, **MLP},
    )
    found, tensors = make()
    for layer, n_kv in enumerate((4, 1)):
        for part in ("k", "v"):
            tensors[f"model.layers.{layer}.self_attn.{part}_proj.weight"] = (64 * n_kv, N_EMBD)
    return found, tensors


def obsidian() -> tuple[Config, dict[str, Shape]]:
    """Return StableLM's first 3B with eyes."""
    config = {
        "architectures": ["LlavaStableLMEpochForCausalLM"],
        "model_type": "llava_stablelm_epoch",
        **BPE,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "norm_eps": 1e-5,
        "rope_pct": 0.25,
        "rope_theta": 10000,
        "use_parallel_residual": False,
        "tie_word_embeddings": False,
    }
    _, tensors = shapes(config, llama_outer(410), "model.layers", {**NORMS, **ATTENTION, **MLP}, ("norm",))()
    return config, tensors


FUSED_BY_HEADS = "without multi_query q, k and v are fused head by head; the converter expects one of k and v"

ADDED_SCORES = "of Arctic: added tokens have the score that other families' have, which nothing looks at"

FAMILIES: tuple[Family, ...] = (
    Family("starcoder", "GPTBigCodeForCausalLM", causal("GPTBigCodeConfig", **BIG_CODE, **BPE_VOCABULARY)),
    Family(
        "starcoder-heads",
        "GPTBigCodeForCausalLM",
        causal("GPTBigCodeConfig", **BIG_CODE, **BPE_VOCABULARY, multi_query=False),
        exceptions={
            "starcoder.attention.head_count_kv": FUSED_BY_HEADS,
            **{
                f"tensor blk.{layer}.attn_qkv.{kind}": FUSED_BY_HEADS
                for layer in range(2)
                for kind in ("weight", "bias")
            },
        },
    ),
    Family("codeshell", "CodeShellForCausalLM", shapes=codeshell),
    Family("refact", "GPTRefactForCausalLM", shapes=refact),
    Family("rugpt3xl", "RuGPT3XLForCausalLM", shapes=rugpt3xl),
    Family(
        "arctic",
        "ArcticForCausalLM",
        shapes=arctic,
        tokenizer="spm",
        exceptions={
            "tokenizer.ggml.scores": ADDED_SCORES,
            "tokenizer.ggml.token_type": "of Arctic: <unk> is a control token, as in other families",
        },
    ),
    Family(
        "dbrx",
        "DbrxForCausalLM",
        causal(
            "DbrxConfig",
            d_model=256,
            n_heads=4,
            n_layers=2,
            max_seq_len=512,
            **BPE_VOCABULARY,
            attn_config={"kv_n_heads": 2, "clip_qkv": 0.5, "rope_theta": 10000.0},
            ffn_config={"ffn_hidden_size": 256, "moe_num_experts": 4, "moe_top_k": 2},
        ),
    ),
    Family("smallthinker", "SmallThinkerForCausalLM", shapes=smallthinker(has_window=True)),
    Family(
        "smallthinker-4b",
        "SmallThinkerForCausalLM",
        shapes=smallthinker(has_window=False),
        embedding_scale=0.125,
    ),
    Family("grok", "GrokForCausalLM", shapes=grok1, tokenizer="spm"),
    Family("grok2", "Grok1ForCausalLM", shapes=grok2, edit=template_in_its_file),
    Family("bitnet", "BitnetForCausalLM", shapes=bitnet, tokenizer="spm", dtype="F16"),
    Family(
        "chameleon",
        "ChameleonForConditionalGeneration",
        shapes=chameleon(is_swin=False),
        edit=equal_heads,
    ),
    Family(
        "chameleon-34b",
        "ChameleonForConditionalGeneration",
        shapes=chameleon(is_swin=True),
        edit=equal_heads,
    ),
    Family("openelm", "OpenELMForCausalLM", shapes=openelm, tokenizer="spm"),
    Family("nemotron-nas", "DeciLMForCausalLM", shapes=nemotron_nas),
    Family("decilm", "DeciLMForCausalLM", shapes=decilm, tokenizer="spm"),
    Family("stablelm-llava", "LlavaStableLMEpochForCausalLM", shapes=obsidian),
)
