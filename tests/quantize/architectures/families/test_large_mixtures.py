"""MiniMax, Ling, Step, Laguna and MiniCPM: settings by layer, and what llama.cpp can't compute."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.registry import architecture_of
from tests.quantize.families.large_mixtures import SECOND, bailing
from tests.quantize.families.minicpm import minicpm, plm

M2 = {"architectures": ["MiniMaxM2ForCausalLM"], "num_hidden_layers": 2}
LING = bailing("BailingMoeForCausalLM", num_shared_experts=2)()[0]
LING2 = bailing("BailingMoeV2ForCausalLM", **SECOND)()[0]
MINICPM = minicpm()()[0]
PLM = plm()[0]
MINICPM3 = {"architectures": ["MiniCPM3ForCausalLM"], "num_hidden_layers": 2}


def keys(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    architecture = architecture_of(config | changes)
    architecture.tensor_rules()
    prefix = f"{architecture.gguf_name}."
    return {key.removeprefix(prefix): value.data for key, value in architecture.metadata().items()}


def test_the_rotated_part_of_a_minimax_head() -> None:
    assert keys(M2)["rope.dimension_count"] == 128
    assert keys(M2, rotary_dim=64)["rope.dimension_count"] == 64
    assert keys(M2, rope_parameters={"partial_rotary_factor": 0.25})["rope.dimension_count"] == 32


def test_sarvam_rotates_whole_heads() -> None:
    sarvam = LING2 | {"architectures": ["modeling_sarvam_moe.SarvamMoEForCausalLM"]}
    assert (keys(LING2)["rope.dimension_count"], keys(sarvam)["rope.dimension_count"]) == (32, 64)


@pytest.mark.parametrize(
    ("config", "changes", "reason"),
    [
        (M2, {"scoring_func": "softmax"}, "scoring_func"),
        (M2, {"use_qk_norm": False}, "use_qk_norm"),
        (LING, {"use_bias": True}, "use_bias"),
        (LING, {"norm_head": True}, "norm_head"),
        (LING, {"first_k_dense_replace": 1}, "experts in every layer"),
        (LING2, {"use_qk_norm": False}, "use_qk_norm"),
        (LING2, {"score_function": "relu"}, "score_function 'relu'"),
        (MINICPM, {"num_experts": 8}, "num_experts"),
        (
            MINICPM,
            {"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 64}},
            "its whole context|whole context",
        ),
        (MINICPM, {"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, "0 numbers as long_factor"),
        (MINICPM3, {"scale_emb": 1}, "scale_emb other than 12"),
        (PLM, {"tie_word_embeddings": False}, "no output matrix"),
        (PLM, {"hidden_act": "silu"}, "computes relu2 only"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    config: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        keys(config, **changes)
