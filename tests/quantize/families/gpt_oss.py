"""OpenAI's gpt-oss, with whole experts; `tests/quantize/checkpoint/test_mxfp4.py` has those in MXFP4."""

from __future__ import annotations

from tests.quantize.families.family import BPE_VOCABULARY, PICO, Family, causal

FAMILIES: tuple[Family, ...] = (
    Family(
        "gpt-oss",
        "GptOssForCausalLM",
        causal(
            "GptOssConfig",
            **PICO | BPE_VOCABULARY,
            head_dim=32,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=16,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 150000.0,
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 64,
            },
        ),
        dtype="BF16",
    ),
)
