"""Models of whose layers some or all keep a state: LFM2, Granite 4, Nemotron-H, Falcon-H1, Mamba, Jamba."""

from __future__ import annotations

from typing import Any

from tests.quantize.families.family import BPE_VOCABULARY, PICO, SPM_VOCABULARY, Config, Family, Shape, causal
from tests.quantize.families.llama_like import GRANITE

BPE: dict[str, Any] = PICO | BPE_VOCABULARY
SPM: dict[str, Any] = PICO | SPM_VOCABULARY
TIED_SCALE = 1 / 16
PADDED = BPE | {"vocab_size": 416}
"""The converter pads vocabularies of state spaces to a multiple of 8 or 16."""

STATES = {"mamba_n_heads": 8, "mamba_n_groups": 2, "mamba_d_state": 16}
UNBOUND: dict[str, Any] = {"time_step_limit": None}
"""The field that has infinity in it, left out: JSON has no such number."""
HYBRID_LAYERS: dict[str, Any] = {"layer_types": ["mamba", "attention"]}
FIXED_IDS = "of Nemotron: the converter writes the same number for every tokenizer, we what its files say"
NO_STATES = tuple(
    f"granite.ssm.{name}"
    for name in ("conv_kernel", "group_count", "inner_size", "state_size", "time_step_rank")
)
ROUNDED = "we round the exponential correctly; torch's is a bit off for some numbers"
ROUNDED_ALL = {f"tensor blk.{layer}.ssm_a": ROUNDED for layer in range(2)}
PARTIAL = "of Bamba: the converter reorders whole heads, of which only one half is rotated"

NEMOTRON_H = {
    **{name: value for name, value in PADDED.items() if name != "num_hidden_layers"},
    "head_dim": 96,
    "mamba_num_heads": 8,
    "mamba_head_dim": 32,
    "ssm_state_size": 16,
    "n_groups": 2,
}
MAMBA = {"hidden_size": 256, "state_size": 16, "num_hidden_layers": 2} | BPE_VOCABULARY | {"vocab_size": 416}
FALCON_H1 = {
    "embedding_multiplier": 5.65,
    "lm_head_multiplier": 0.0195,
    "mlp_multipliers": [0.88, 0.29],
    "key_multiplier": 0.39,
    "attention_in_multiplier": 1.1,
    "attention_out_multiplier": 0.93,
    "ssm_multipliers": [0.35, 0.25, 0.16, 0.5, 0.31],
    "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.23,
}


def nemotron_h() -> tuple[Config, dict[str, Shape]]:
    """Return the shapes of the first Nemotron-H, which the converter takes for a mixture of experts.

    That is, if transformers knows the model and completes the configuration; so `model_type` is left out.
    """
    config = {
        **NEMOTRON_H,
        "architectures": ["NemotronHForCausalLM"],
        "hybrid_override_pattern": "M*-",
        "num_hidden_layers": 3,
        "mlp_hidden_act": "relu2",
        "layer_norm_epsilon": 1e-5,
        "conv_kernel": 4,
        "tie_word_embeddings": False,
    }
    mixers: list[dict[str, Shape]] = [
        {
            "in_proj.weight": (584, 256),
            "conv1d.weight": (320, 1, 4),
            "conv1d.bias": (320,),
            "dt_bias": (8,),
            "A_log": (8,),
            "D": (8,),
            "norm.weight": (256,),
            "out_proj.weight": (256, 256),
        },
        {
            "q_proj.weight": (384, 256),
            "k_proj.weight": (192, 256),
            "v_proj.weight": (192, 256),
            "o_proj.weight": (256, 384),
        },
        {"up_proj.weight": (512, 256), "down_proj.weight": (256, 512)},
    ]
    shapes: dict[str, Shape] = {
        "backbone.embeddings.weight": (416, 256),
        "backbone.norm_f.weight": (256,),
        "lm_head.weight": (416, 256),
    }
    for layer, mixer in enumerate(mixers):
        shapes[f"backbone.layers.{layer}.norm.weight"] = (256,)
        shapes |= {f"backbone.layers.{layer}.mixer.{name}": shape for name, shape in mixer.items()}
    return config, shapes


def nemotron_h_puzzle() -> tuple[Config, dict[str, Shape]]:
    """Return the shapes of a Nemotron 3 whose layers have experts of different sizes."""
    config, shapes = nemotron_h()
    sizes = {2: 128, 3: 256}
    config |= {
        "architectures": ["NemotronHPuzzleForCausalLM"],
        "block_configs": [
            {"block_type": "mamba"},
            {"block_type": "attention"},
            {"block_type": "moe", "moe_intermediate_size": 128, "num_experts_per_tok": 2},
            {"block_type": "moe", "moe_intermediate_size": 256, "num_experts_per_tok": 1},
        ],
        "num_hidden_layers": 4,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "moe_shared_expert_intermediate_size": 512,
        "moe_latent_size": 128,
        "norm_topk_prob": True,
        "routed_scaling_factor": 5.0,
        "n_group": 1,
        "topk_group": 1,
    }
    del config["hybrid_override_pattern"]
    kept = {name: shape for name, shape in shapes.items() if ".layers.2." not in name}
    for layer, n_ff in sizes.items():
        prefix = f"backbone.layers.{layer}"
        kept[f"{prefix}.norm.weight"] = (256,)
        kept |= {
            f"{prefix}.mixer.gate.weight": (4, 256),
            f"{prefix}.mixer.gate.e_score_correction_bias": (4,),
            f"{prefix}.mixer.shared_experts.up_proj.weight": (512, 256),
            f"{prefix}.mixer.shared_experts.down_proj.weight": (256, 512),
            f"{prefix}.mixer.fc1_latent_proj.weight": (128, 256),
            f"{prefix}.mixer.fc2_latent_proj.weight": (256, 128),
        }
        for i in range(4):
            kept[f"{prefix}.mixer.experts.{i}.up_proj.weight"] = (n_ff, 128)
            kept[f"{prefix}.mixer.experts.{i}.down_proj.weight"] = (128, n_ff)
    return config, {name.replace("backbone.", "model."): shape for name, shape in kept.items()}


FAMILIES: tuple[Family, ...] = (
    Family(
        "lfm2",
        "Lfm2ForCausalLM",
        causal("Lfm2Config", **BPE, layer_types=["conv", "full_attention"]),
        config={"block_ff_dim": 512, "intermediate_size": None, "full_attn_idxs": [1]},
        embedding_scale=TIED_SCALE,
        dtype="BF16",
    ),
    Family(
        "lfm2-moe",
        "Lfm2MoeForCausalLM",
        causal(
            "Lfm2MoeConfig",
            **BPE,
            layer_types=["conv", "full_attention"],
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=256,
            num_dense_layers=1,
        ),
        embedding_scale=TIED_SCALE,
    ),
    Family(
        "granite-hybrid",
        "GraniteMoeHybridForCausalLM",
        causal(
            "GraniteMoeHybridConfig",
            **PADDED,
            **GRANITE,
            **STATES,
            layer_types=["mamba", "attention"],
            num_local_experts=4,
            shared_intermediate_size=256,
        ),
        config=HYBRID_LAYERS | {"position_embedding_type": "nope"} | UNBOUND,
    ),
    Family(
        "granite-hybrid-dense",
        "GraniteMoeHybridForCausalLM",
        causal(
            "GraniteMoeHybridConfig",
            **PADDED | STATES | {"mamba_n_groups": 1},
            **GRANITE,
            layer_types=["mamba", "attention"],
            num_local_experts=0,
            num_experts_per_tok=0,
            shared_intermediate_size=512,
            tie_word_embeddings=True,
        ),
        config=HYBRID_LAYERS | UNBOUND,
        embedding_scale=TIED_SCALE,
        dtype="BF16",
    ),
    Family(
        "granite-4-attention",
        "GraniteMoeHybridForCausalLM",
        causal(
            "GraniteMoeHybridConfig",
            **BPE,
            **STATES,
            **GRANITE,
            layer_types=["attention", "attention"],
            num_local_experts=0,
            num_experts_per_tok=0,
            shared_intermediate_size=512,
            position_embedding_type="rope",
        ),
        config={"layer_types": ["attention", "attention"]} | UNBOUND,
        exceptions=dict.fromkeys(
            NO_STATES, "of a Granite 4 that attends in all layers: no state space is there"
        ),
    ),
    Family(
        "bamba",
        "BambaForCausalLM",
        causal("BambaConfig", **PADDED, **STATES, attn_layer_indices=[1]),
        config={"attn_rotary_emb": 32} | UNBOUND,
        exceptions={"tensor blk.1.attn_q.weight": PARTIAL, "tensor blk.1.attn_k.weight": PARTIAL},
    ),
    Family(
        "nemotron",
        "NemotronForCausalLM",
        causal("NemotronConfig", **SPM, attention_bias=True, mlp_bias=True),
        "spm",
        exceptions={
            "nemotron.attention.layer_norm_rms_epsilon": "of Nemotron: its norms are no RMS norms",
            "tokenizer.ggml.padding_token_id": FIXED_IDS,
            "tokenizer.ggml.unknown_token_id": FIXED_IDS,
        },
    ),
    Family("nemotron-h", "NemotronHForCausalLM", shapes=nemotron_h),
    Family("nemotron-h-puzzle", "NemotronHPuzzleForCausalLM", shapes=nemotron_h_puzzle),
    Family(
        "nemotron-h-moe",
        "NemotronHForCausalLM",
        causal(
            "NemotronHConfig",
            **NEMOTRON_H,
            layers_block_type=["linear_attention", "full_attention", "moe"],
            n_routed_experts=4,
            moe_intermediate_size=256,
            moe_shared_expert_intermediate_size=512,
            moe_latent_size=128,
            routed_scaling_factor=2.5,
            n_group=1,
        ),
        config=UNBOUND,
        dtype="BF16",
    ),
    Family(
        "falcon-h1",
        "FalconH1ForCausalLM",
        causal("FalconH1Config", **BPE, **STATES, mamba_d_ssm=256, head_dim=32, **FALCON_H1),
        config=UNBOUND,
        dtype="BF16",
    ),
    Family(
        "mamba",
        "MambaForCausalLM",
        causal("MambaConfig", **MAMBA),
        embedding_scale=TIED_SCALE,
        exceptions=ROUNDED_ALL,
    ),
    Family(
        "falcon-mamba",
        "FalconMambaForCausalLM",
        causal("FalconMambaConfig", **MAMBA, tie_word_embeddings=False),
        exceptions=ROUNDED_ALL,
    ),
    Family(
        "mamba2",
        "Mamba2ForCausalLM",
        causal("Mamba2Config", **MAMBA, num_heads=8, head_dim=64, n_groups=2),
        config=UNBOUND,
    ),
    Family(
        "jamba",
        "JambaForCausalLM",
        causal(
            "JambaConfig",
            **SPM | {"pad_token_id": 0},
            attn_layer_period=2,
            attn_layer_offset=1,
            expert_layer_period=2,
            expert_layer_offset=1,
            num_experts=4,
        ),
        "spm",
        exceptions={"tensor blk.0.ssm_a": ROUNDED},
    ),
)
