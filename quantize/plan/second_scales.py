"""The second scales of NVFP4: which tensors can have one, and where it is. Pure.

weight = number · scale of its 16 · second scale of the tensor, or of each of its matrices (experts)

Scales of 16 are floats of 8 bits, finest at about 1: of a layer's weights, mostly hundredths, they would
keep one bit or two, and none of those below 0.006. So a tensor in NVFP4 has a `….scale` beside its
`….weight`, by which llama.cpp multiplies what the matrix makes of its input. It loads one beside nearly any
matrix of a layer, and most of its graphs leave it out, without a word. `GRAPHS` has those that don't, matrix
by matrix; a test holds it against what llama.cpp computes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp.quantization.ggml_types import GGML_TYPES

NVFP4: Final = GGML_TYPES["NVFP4"]

_LAYER_WEIGHT: Final = re.compile(r"blk\.(\d+)\.(.+)\.weight")

MADE_EXPONENT: Final = -7
"""The second scale of tensors that are encoded here is 2 to this power, whatever is in them: so scales of 16
have all their bits for groups whose largest weight is between 0.0008 and 21, and a pass needn't look ahead.
"""

LARGEST: Final = 6 * 448 * 2.0**MADE_EXPONENT
"""The largest weight that tensors encoded here can hold."""

ATTENTION: Final = frozenset({"attn_q", "attn_k", "attn_v", "attn_output"})
FUSED_ATTENTION: Final = frozenset({"attn_qkv", "attn_output"})
DENSE: Final = frozenset({"ffn_gate", "ffn_up", "ffn_down"})
EXPERTS: Final = frozenset({"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"})
SHARED_EXPERT: Final = frozenset({"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"})
LINEAR_ATTENTION: Final = frozenset({"attn_qkv", "attn_gate", "ssm_alpha", "ssm_beta", "ssm_out"})

GRAPHS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(
        (
            "afmoe", "apertus", "arcee", "arctic", "baichuan", "bailingmoe", "command-r", "deepseek",
            "dots1", "ernie4_5", "ernie4_5-moe", "eurobert", "exaone", "exaone-moe", "exaone4", "gemma",
            "gemma2", "gemma3", "gemma3n", "glm4", "glm4moe", "gpt-oss", "granite", "granite_swa",
            "granitemoe", "grok", "grovemoe", "hunyuan-dense", "hunyuan-moe", "hunyuan_vl", "internlm2",
            "jais2", "jina-bert-v2", "laguna", "lfm2", "lfm2moe", "llama4", "maincoder", "maple",
            "minicpm", "minimax-m2", "minimax-m3", "muse-glimmer", "nemotron", "olmo", "olmo2", "olmoe",
            "orion", "pangu-embedded", "phi2", "phimoe", "qwen2", "qwen2moe", "qwen2vl", "qwen3vl",
            "qwen3vlmoe", "refact", "seed_oss", "smallthinker", "smollm3", "stablelm", "starcoder2",
            "step35",
        ),
        ATTENTION,
    ),
    **dict.fromkeys(
        (
            "bailingmoe2", "bloom", "codeshell", "dbrx", "falcon", "gpt2", "gptneox", "jais",
            "modern-bert", "mpt", "neo-bert", "nomic-bert", "nomic-bert-moe", "phi3", "qwen",
            "spark2_5", "starcoder",
        ),
        FUSED_ATTENTION,
    ),
    **dict.fromkeys(
        ("chameleon", "cohere2", "gemma4", "llama-embed", "mistral3", "qwen3"), ATTENTION | DENSE
    ),
    **dict.fromkeys(("deci", "minimax-01", "talkie"), frozenset({"attn_k", "attn_q", "attn_v"})),
    **dict.fromkeys(("deepseek2", "minicpm3", "openelm"), frozenset({"attn_output"})),
    **dict.fromkeys(
        ("deepseek32", "dots3note", "glm-dsa"), DENSE | EXPERTS | SHARED_EXPERT | {"attn_output"}
    ),
    **dict.fromkeys(("falcon-h1", "granitehybrid", "jamba"), ATTENTION | {"ssm_in", "ssm_out"}),
    **dict.fromkeys(("bert", "chatglm"), ATTENTION | FUSED_ATTENTION),
    **dict.fromkeys(("cohere2moe", "hy_v3"), ATTENTION | DENSE | EXPERTS | SHARED_EXPERT),
    **dict.fromkeys(("mamba", "mamba2"), frozenset({"ssm_in", "ssm_out"})),
    **dict.fromkeys(("mellum", "qwen3moe"), ATTENTION | EXPERTS),
    "llama": ATTENTION | DENSE | EXPERTS,
    "nemotron_h": ATTENTION | {"ffn_down", "ffn_up", "ssm_in", "ssm_out"},
    "nemotron_h_moe": ATTENTION
    | {"ffn_down_exps", "ffn_down_shexp", "ffn_up_exps", "ffn_up_shexp", "ssm_in", "ssm_out"},
    "qwen35": ATTENTION | DENSE | LINEAR_ATTENTION,
    "qwen35moe": ATTENTION | EXPERTS | SHARED_EXPERT | LINEAR_ATTENTION,
    "qwen3next": ATTENTION | EXPERTS | SHARED_EXPERT,
}  # fmt: skip
"""The matrices of a layer by whose second scales llama.cpp multiplies, by architecture."""


def scale_name(weight: str) -> str:
    """Return the name of the tensor that holds the second scale of `weight`."""
    return f"{weight.removesuffix('.weight')}.scale"


def scalable(architecture: str, n_layers: int, names: Collection[str]) -> frozenset[str]:
    """Return those of a model's tensors that can have a second scale, of `n_layers` layers that it computes.

    A feed-forward with a bias can't: llama.cpp adds it before it multiplies. Nor can what has one already.
    """
    matrices = GRAPHS.get(architecture, frozenset())
    found = set()
    for name in names:
        part = _LAYER_WEIGHT.fullmatch(name)
        if part is None or int(part[1]) >= n_layers or part[2] not in matrices or scale_name(name) in names:
            continue
        if not (part[2].startswith("ffn_") and f"blk.{part[1]}.{part[2]}.bias" in names):
            found.add(name)
    return frozenset(found)


def scaled(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return what is encoded of `rows` where the second scale is the one of tensors that are encoded here.

    Raises LlamaCppError: a number that is larger than they can hold, which ggml would cut off.
    """
    largest = max(float(rows.max(initial=0)), -float(rows.min(initial=0)))
    if LARGEST < largest < float("inf"):
        raise LlamaCppError(
            f"a value is too large for NVFP4 (largest magnitude here {largest:.4g}, and it holds up to "
            f"{LARGEST:g}); choose Q4_K_M for this model"
        )
    return rows * np.float32(2.0**-MADE_EXPONENT)
