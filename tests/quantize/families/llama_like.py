"""Families of Llama's shape, described for the comparison with the converter and transformers."""

from __future__ import annotations

from typing import Any

from tests.quantize.families.family import BPE_VOCABULARY, PICO, SPM_VOCABULARY, Family, causal

BPE: dict[str, Any] = PICO | BPE_VOCABULARY
SPM: dict[str, Any] = PICO | SPM_VOCABULARY
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256}
GRANITE = {
    "embedding_multiplier": 3.0,
    "logits_scaling": 2.0,
    "residual_multiplier": 0.25,
    "attention_multiplier": 0.125,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}

TIED_SCALE = 1 / 16

FAMILIES: tuple[Family, ...] = (
    Family("llama", "LlamaForCausalLM", causal("LlamaConfig", **SPM), "spm"),
    Family(
        "llama-3",
        "LlamaForCausalLM",
        causal("LlamaConfig", **BPE, rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True),
        dtype="BF16",
        embedding_scale=TIED_SCALE,
    ),
    Family(
        "llama-linear",  # DeepSeek Coder, Vicuna with 16k
        "LlamaForCausalLM",
        causal(
            "LlamaConfig",
            **BPE | {"num_key_value_heads": 4},
            rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 100000.0},
        ),
    ),
    Family(
        "llama-biases",
        "LlamaForCausalLM",
        causal("LlamaConfig", **BPE, attention_bias=True, mlp_bias=True, head_dim=32),
        dtype="F16",
    ),
    Family("mistral", "MistralForCausalLM", causal("MistralConfig", **SPM, head_dim=32), "spm"),
    Family(
        "mixtral",
        "MixtralForCausalLM",
        causal("MixtralConfig", **SPM, num_local_experts=4),
        "spm",
        dtype="BF16",
    ),
    Family(
        "smollm3",
        "SmolLM3ForCausalLM",
        causal("SmolLM3Config", **BPE | {"num_hidden_layers": 5}),
        dtype="BF16",
        embedding_scale=TIED_SCALE,
    ),
    Family(
        "granite",
        "GraniteForCausalLM",
        causal("GraniteConfig", **BPE, **GRANITE, tie_word_embeddings=True),
        embedding_scale=TIED_SCALE,
    ),
    Family(
        "granite-moe",
        "GraniteMoeForCausalLM",
        causal("GraniteMoeConfig", **BPE, **GRANITE, num_local_experts=4),
    ),
    Family(
        "granite-moe-shared",
        "GraniteMoeSharedForCausalLM",
        causal("GraniteMoeSharedConfig", **BPE, **GRANITE, num_local_experts=4, shared_intermediate_size=256),
    ),
    Family(
        "granite-swa",
        "GraniteSWAForCausalLM",
        causal(
            "GraniteSWAConfig",
            **BPE,
            **GRANITE,
            sliding_window=16,
            layer_types=["full_attention", "sliding_attention"],
            layer_rope_theta=[10000.0, 0.0],
        ),
        config={"no_rope_layers": [1, 0]},
        embedding_scale=TIED_SCALE,
    ),
    Family(
        "granite-moe-swa",
        "GraniteMoeSWAForCausalLM",
        causal(
            "GraniteMoeSWAConfig",
            **BPE,
            **GRANITE,
            num_local_experts=4,
            shared_intermediate_size=256,
            sliding_window=16,
            layer_types=["full_attention", "sliding_attention"],
        ),
    ),
    Family("qwen2", "Qwen2ForCausalLM", causal("Qwen2Config", **BPE), dtype="BF16"),
    Family(
        "qwen2-tied",
        "Qwen2ForCausalLM",
        causal("Qwen2Config", **BPE, tie_word_embeddings=True),
        embedding_scale=TIED_SCALE,
    ),
    Family(
        "qwen2-yarn",
        "Qwen2ForCausalLM",
        causal(
            "Qwen2Config",
            **BPE,
            rope_parameters={
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 1000000.0,
                "original_max_position_embeddings": 128,
            },
        ),
    ),
    Family(
        "qwen2-moe",
        "Qwen2MoeForCausalLM",
        causal("Qwen2MoeConfig", **BPE, **EXPERTS, shared_expert_intermediate_size=512),
        dtype="BF16",
    ),
    Family("qwen3", "Qwen3ForCausalLM", causal("Qwen3Config", **BPE, head_dim=128)),
    Family(
        "qwen3-moe",
        "Qwen3MoeForCausalLM",
        causal("Qwen3MoeConfig", **BPE, **EXPERTS, head_dim=128, norm_topk_prob=True),
        dtype="BF16",
    ),
    Family("olmo2", "Olmo2ForCausalLM", causal("Olmo2Config", **BPE)),
)
