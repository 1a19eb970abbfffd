"""Hybrids: most layers have linear attention, with a state instead of keys and values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.pico import write_json
from tests.quantize.families.family import BPE_VOCABULARY, PICO, Family, Shape, causal

BPE = PICO | BPE_VOCABULARY
KINDS = ["linear_attention", "full_attention"]
DELTA_NET = {
    "head_dim": 64,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "shared_expert_intermediate_size": 256,
}
ROPE = {
    "rope_type": "default",
    "rope_theta": 1e7,
    "partial_rotary_factor": 0.25,
    "mrope_interleaved": True,
    "mrope_section": [3, 3, 2],
}
SEEING = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 256,
    "num_position_embeddings": 16,
}
LATENT = {
    "num_key_value_heads": 4,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "kv_lora_rank": 256,
}
KIMI_LINEAR: dict[str, Any] = {
    **dict.fromkeys(("layer_types", "mlp_layer_types", "linear_head_dim", "linear_num_heads", "head_dim")),
    **dict.fromkeys(
        ("linear_conv_kernel_dim", "n_group", "norm_topk_prob", "num_local_experts", "qk_head_dim")
    ),
    **dict.fromkeys(("num_experts_per_tok", "n_shared_experts", "max_position_embeddings")),
    "first_k_dense_replace": 1,
    "head_dim": 72,
    "linear_attn_config": {
        "full_attn_layers": [2],
        "head_dim": 64,
        "kda_layers": [1],
        "num_heads": 4,
        "short_conv_kernel_size": 4,
    },
    "mla_use_nope": True,
    "model_max_length": 512,
    "moe_renormalize": True,
    "moe_router_activation_func": "sigmoid",
    "num_expert_group": 1,
    "num_experts": 4,
    "num_experts_per_token": 2,
    "num_shared_experts": 1,
    "rope_theta": 10000.0,
}
"""The fields of the makers' config.json in place of those that transformers writes."""
BAILING: dict[str, Any] = {
    **dict.fromkeys(("layer_types", "mlp_layer_types", "linear_head_dim", "linear_num_heads", "qk_head_dim")),
    **dict.fromkeys(("linear_conv_kernel_dim", "num_local_experts", "n_shared_experts", "rope_parameters")),
    **dict.fromkeys(("num_mtp_layers", "mtp_loss_scaling_factor")),
    "gated_attention_proj_granularity_type": "head_wise",
    "head_dim": 64,
    "moe_shared_expert_intermediate_size": 256,
    "no_kda_lora": True,
    "norm_topk_prob": True,
    "n_group": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 512,
    "num_experts": 8,
    "num_nextn_predict_layers": 0,
    "num_shared_experts": 1,
    "q_lora_rank": None,
    "rope_theta": 6e6,
    "score_function": "sigmoid",
}
"""The fields of the makers' config.json in place of those that transformers writes."""


def seeing(name: str, **fields: Any) -> Callable[[], Any]:
    """Return a maker of a model with a tower that sees, of which only the names matter here."""

    def make() -> Any:
        import transformers

        text = getattr(transformers, f"{name}TextConfig")(**fields)
        vision = getattr(transformers, f"{name}VisionConfig")(**SEEING)
        config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=vision)
        return getattr(transformers, f"{name}ForConditionalGeneration")(config)

    return make


def with_further_layer(last: str) -> Callable[[dict[str, Shape]], dict[str, Shape]]:
    """Return a change that adds a layer like `last`, which predicts further tokens."""

    def change(shapes: dict[str, Shape]) -> dict[str, Shape]:
        more: dict[str, Shape] = {
            f"mtp.layers.0.{name.removeprefix(last)}": shape
            for name, shape in shapes.items()
            if name.startswith(last)
        }
        assert more
        norms = ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden")
        more |= {f"mtp.{name}.weight": (256,) for name in norms}
        return {**shapes, **more, "mtp.fc.weight": (256, 512)}

    return change


def minimax() -> Any:
    """Make a model under its makers' name; transformers has another one for its class."""
    import transformers

    sizes = BPE | {"head_dim": 64, "num_local_experts": 4, "num_experts_per_tok": 2}
    alphas = {f"{part}_alpha_factor": 3.5 for part in ("full_attn", "linear_attn", "mlp")}
    config = transformers.MiniMaxConfig(**sizes, **alphas, layer_types=KINDS)
    named = type("MiniMaxText01ForCausalLM", (transformers.MiniMaxForCausalLM,), {})
    return named(config)


def bailing() -> Any:
    """Make a Ling 3 under its makers' name; transformers has another one for its class."""
    import transformers

    config = transformers.BailingHybridConfig(
        **BPE | LATENT,
        head_dim=64,
        layer_group_size=2,
        moe_intermediate_size=256,
        num_local_experts=8,
        num_experts_per_tok=2,
        n_shared_experts=1,
        n_group=4,
        topk_group=2,
        first_k_dense_replace=1,
        num_mtp_layers=0,
    )
    return type("BailingMoeV3ForCausalLM", (transformers.BailingHybridForCausalLM,), {})(config)


def without_decays(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the tensors but the computed ones, which transformers saves."""
    return {name: shape for name, shape in shapes.items() if not name.endswith(("_decay", ".slope_rate"))}


def muse_glimmer() -> Any:
    """Make a model with a tower that sees, of which only the names matter here."""
    import transformers

    text = transformers.MuseGlimmerTextConfig(**BPE, head_dim=64, sliding_window=16)
    vision = transformers.MuseGlimmerVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        pos_emb_height=4,
        pos_emb_width=4,
    )
    config = transformers.MuseGlimmerConfig(
        text_config=text, vision_config=vision, out_hidden_size=128, projector_hidden_size=64
    )
    return transformers.MuseGlimmerForConditionalGeneration(config)


def with_index(directory: Path) -> None:
    """Write an index of tensors, and a template in a file of its own, which the converter asks for."""
    file = "model.safetensors"
    with (directory / file).open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    names = [name for name in header if name != "__metadata__"]
    write_json(directory / f"{file}.index.json", {"weight_map": dict.fromkeys(names, file)})
    (directory / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")


def kimi_linear_names(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the makers' names; transformers gives those of experts to dense layers, too."""
    return {
        name.replace(".block_sparse_moe.", ".mlp.") if "layers.0." in name else name: shape
        for name, shape in shapes.items()
    }


WIDE_VALUES = (
    "of Kimi Linear and Ling 3: the latent vector's size, as for DeepSeek; the converter has head_dim, which "
    "nothing is"
)

OTHER_LAYERS = (
    "of MiniMax-Text-01: the layers of linear attention; the converter leaves them out, and llama.cpp takes "
    "seven of eight"
)

FAMILIES: tuple[Family, ...] = (
    Family(
        "qwen3-next",
        "Qwen3NextForCausalLM",
        causal("Qwen3NextConfig", **BPE | DELTA_NET | EXPERTS, layer_types=KINDS),
        config={"layer_types": None, "full_attention_interval": 2},
        tensors=with_further_layer("model.layers.1."),
    ),
    Family(
        "qwen3.5",
        "Qwen3_5ForCausalLM",
        causal("Qwen3_5TextConfig", **BPE | DELTA_NET, layer_types=KINDS, tie_word_embeddings=True),
        embedding_scale=0.0625,
    ),
    Family(
        "qwen3.5-vision",
        "Qwen3_5ForConditionalGeneration",
        seeing("Qwen3_5", **BPE | DELTA_NET, layer_types=KINDS, rope_parameters=ROPE),
        tensors=with_further_layer("model.language_model.layers.1."),
    ),
    Family(
        "qwen3.5-moe-vision",
        "Qwen3_5MoeForConditionalGeneration",
        seeing(
            "Qwen3_5Moe",
            **{k: v for k, v in BPE.items() if k != "intermediate_size"} | DELTA_NET | EXPERTS,
            layer_types=KINDS,
            rope_parameters=ROPE,
        ),
        tensors=with_further_layer("model.language_model.layers.1."),
    ),
    Family(
        "kimi-linear",
        "KimiLinearForCausalLM",
        causal(
            "KimiLinearConfig",
            **BPE | LATENT,
            moe_intermediate_size=256,
            num_local_experts=4,
            num_experts_per_tok=2,
            n_shared_experts=1,
            linear_head_dim=64,
            linear_num_heads=4,
            layer_types=KINDS,
        ),
        exceptions={"kimi-linear.attention.value_length": WIDE_VALUES},
        config=KIMI_LINEAR,
        tensors=kimi_linear_names,
    ),
    Family(
        "minimax-text",
        "MiniMaxText01ForCausalLM",
        minimax,
        exceptions={"minimax-01.attention.recurrent_layers": OTHER_LAYERS},
        config={
            "attn_type_list": [0, 1],
            **{f"layernorm_{part}_alpha": 3.5 for part in ("full_attention", "linear_attention", "mlp")},
            **{f"layernorm_{part}_beta": 1.0 for part in ("full_attention", "linear_attention", "mlp")},
            "postnorm": True,
            "rotary_dim": 64,
            "shared_intermediate_size": 0,
        },
        tensors=without_decays,
        edit=with_index,
    ),
    Family("muse-glimmer", "MuseGlimmerForConditionalGeneration", muse_glimmer, embedding_scale=0.5),
    Family(
        "bailing-moe3",
        "BailingMoeV3ForCausalLM",
        bailing,
        exceptions={"bailingmoe3.attention.value_length": WIDE_VALUES},
        config=BAILING,
    ),
)
