"""Rotary position embeddings: config.json's two spellings to GGUF keys, Llama 3's frequency factors.

Older files have `rope_theta` and `rope_scaling`, newer ones `rope_parameters` with both inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.gguf.header import Metadata, float32, string, uint32

DEFAULT_THETA = 10000.0
"""The base of the rotation that transformers and llama.cpp assume."""


@dataclass(frozen=True)
class Rope:
    """The rotary settings of a model. `parameters` are the scaling's own fields."""

    kind: str
    theta: float
    parameters: ModelConfig

    @classmethod
    def of(cls, config: ModelConfig, default_theta: float = DEFAULT_THETA) -> Rope:
        """Read either spelling. Raises CheckpointError: fields of a wrong type."""
        scaling = config.section("rope_parameters") or config.section("rope_scaling") or ModelConfig({})
        kind = scaling.text("rope_type") or scaling.text("type") or "default"
        theta = scaling.optional_number("rope_theta") or config.number("rope_theta", default_theta)
        return cls(kind.lower(), theta, scaling)

    def metadata_unless_default(self, prefix: str, context_length: int) -> Metadata:
        """Return the keys that differ from llama.cpp's defaults, for families whose converter writes none."""
        keys = self.metadata(prefix, context_length)
        if self.theta == DEFAULT_THETA:
            del keys[f"{prefix}.rope.freq_base"]
        return keys

    def metadata(self, prefix: str, context_length: int) -> Metadata:
        """Return GGUF keys under `prefix`. Raises CheckpointError on a scaling that llama.cpp doesn't know.

        Dynamic NTK stretches only prompts longer than the training context, and llama.cpp has no key for it:
        as in its converter such a model keeps its plain frequencies. Llama 3's factors are a tensor,
        `llama3_factors`.
        """
        keys: Metadata = {f"{prefix}.rope.freq_base": float32(self.theta)}
        scaling = f"{prefix}.rope.scaling"
        match self.kind:
            case "default" | "dynamic" | "llama3":
                pass
            case "linear":
                keys[f"{scaling}.type"] = string("linear")
                keys[f"{scaling}.factor"] = float32(self.parameters.number("factor"))
            case "yarn":
                keys[f"{scaling}.type"] = string("yarn")
                keys[f"{scaling}.factor"] = float32(self.parameters.number("factor"))
                original = self.parameters.size("original_max_position_embeddings", context_length)
                keys[f"{scaling}.original_context_length"] = uint32(original)
                keys |= self._yarn_options(scaling)
            case "su" | "longrope":
                raise CheckpointError(
                    "rope_type longrope isn't part of this architecture in llama.cpp; not supported"
                )
            case _:
                raise CheckpointError(
                    f"rope_type {self.kind!r} is not known; known: linear, dynamic, yarn, llama3"
                )
        return keys

    def _yarn_options(self, scaling: str) -> Metadata:
        attention = self.parameters.optional_number("attention_factor")
        values = {
            "yarn_ext_factor": self.parameters.optional_number("extrapolation_factor"),
            "yarn_attn_factor": self.parameters.optional_number("attn_factor")
            if attention is None
            else attention,
            "yarn_beta_fast": self.parameters.optional_number("beta_fast"),
            "yarn_beta_slow": self.parameters.optional_number("beta_slow"),
        }
        return {f"{scaling}.{key}": float32(value) for key, value in values.items() if value is not None}

    def llama3_factors(self, head_dim: int, context_length: int) -> tuple[float, ...] | None:
        """Return Llama 3.1's divisors of the head's frequencies; None for other scalings.

        Long waves are slowed by `factor`, short ones kept, those between interpolated: the formula of Llama
        3.1's reference code (https://github.com/meta-llama/llama-models, `apply_scaling`), as divisors.
        Computed in f32, with divisions as reciprocals times a number, which is how torch rounds them.
        """
        if self.kind != "llama3":
            return None
        factor = self.parameters.number("factor", 8.0)
        low = self.parameters.number("low_freq_factor", 1.0)
        high = self.parameters.number("high_freq_factor", 4.0)
        original = self.parameters.size("original_max_position_embeddings", context_length)
        if not (factor > 0 and 0 < low < high):
            raise CheckpointError(
                f"rope_scaling has the factors {factor}, {low}, {high}; it needs 0 < low < high"
            )
        f32 = np.float32
        exponents = np.arange(0, head_dim, 2, dtype=f32) / f32(head_dim)
        frequencies = f32(1) / np.power(np.float64(self.theta), exponents.astype(np.float64)).astype(f32)
        waves = f32(1) / frequencies * f32(2 * math.pi)
        smooth = (f32(1) / waves * f32(original) - f32(low)) / f32(high - low)
        between = f32(1) / ((f32(1) - smooth) / f32(factor) + smooth)
        factors = np.where(waves > f32(original / low), f32(factor), between)
        factors = np.where(waves < f32(original / high), f32(1), factors)
        return tuple(float(value) for value in factors)
