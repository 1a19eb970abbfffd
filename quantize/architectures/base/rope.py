"""Rotary position embeddings: config.json's two spellings to GGUF keys, Llama 3's frequency factors.

Older files have `rope_theta` and `rope_scaling`, newer ones `rope_parameters` with both inside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.gguf.header import Metadata, ValueType, array, float32, string, uint32

DEFAULT_THETA = 10000.0
"""The base of the rotation that transformers and llama.cpp assume."""


ORIGINAL = "original_max_position_embeddings"
LAYER_TYPES = ("full_attention", "sliding_attention")


@dataclass(frozen=True)
class Rope:
    """The rotary settings of a model. `parameters` are the scaling's own fields.

    `original_context` is that of config.json itself, which counts before the one of `parameters`.
    """

    kind: str
    theta: float
    parameters: ModelConfig
    original_context: int | None = None

    @classmethod
    def of(
        cls, config: ModelConfig, default_theta: float = DEFAULT_THETA, theta_name: str = "rope_theta"
    ) -> Rope:
        """Read either spelling; `theta_name` is that of the base in the older one.

        Raises CheckpointError: fields of a wrong type, or settings that differ by layer.
        """
        scaling = _section(config)
        if scaling.first(LAYER_TYPES) is not None:
            raise CheckpointError(
                "config.json has rope_parameters for each type of layer, which llama.cpp doesn't compute for "
                "this architecture; write one set of them"
            )
        said = scaling.first(["rope_theta"]) is not None
        theta = default_theta if said else config.number(theta_name, default_theta)
        return cls.of_section(scaling, config, theta)

    @classmethod
    def of_section(cls, scaling: ModelConfig, config: ModelConfig, theta: float) -> Rope:
        """Read one set of rotary settings of `config`; `theta` is the base where the set has none.

        Raises CheckpointError.
        """
        kind = scaling.text("rope_type", scaling.text("type", "default"))
        original = config.size(ORIGINAL) if config.first([ORIGINAL]) is not None else None
        base = scaling.number("rope_theta", theta)
        if base <= 0:
            raise CheckpointError(
                f"config.json has the rope_theta {base}; rotations need more than 0: correct it"
            )
        return cls(kind.lower(), base, scaling, original)

    @classmethod
    def of_or_assumed(cls, config: ModelConfig, assumed: Mapping[str, Any], default_theta: float) -> Rope:
        """Read either spelling, or take `assumed` where config.json has neither. Raises CheckpointError."""
        if config.has("rope_parameters") or config.raw("rope_scaling"):
            return cls.of(config, default_theta)
        return cls.of_section(ModelConfig(assumed), config, default_theta)

    @classmethod
    def of_layer_types(
        cls, config: ModelConfig, default_theta: float, local_theta: float
    ) -> tuple[Rope, Rope]:
        """Read the settings of layers without a window, and of those with one, from their sections.

        The older places of `rope_scaling` and `rope_theta` are those of layers without.

        Raises CheckpointError.
        """
        nothing = ModelConfig({})
        nested = config.section("rope_parameters") or nothing
        full, local = (nested.section(kind) or nothing for kind in LAYER_TYPES)
        full = full.under(config.section("rope_scaling"))
        said = full.first(["rope_theta"]) is not None
        theta = default_theta if said else config.number("rope_theta", default_theta)
        return cls.of_section(full, config, theta), cls.of_section(local, config, local_theta)

    @classmethod
    def of_sections(cls, config: ModelConfig, default_theta: float, local_theta: float) -> tuple[Rope, Rope]:
        """Read the settings as `of_layer_types`, for classes that look for them in these sections only.

        `rope_scaling` is such a class's other name for `rope_parameters`, and replaces it.

        Raises CheckpointError: no section for a type of layer, or YaRN without its original context.
        """
        nothing, given = ModelConfig({}), config.section("rope_parameters")
        types = config.texts("layer_types") or LAYER_TYPES[:1]
        found: list[Rope] = []
        for kind, theta in zip(LAYER_TYPES, (default_theta, local_theta), strict=True):
            section = given.section(kind) if given else None
            if given and section is None and kind in types:
                raise CheckpointError(
                    f"config.json has rope_parameters without {kind}, which it has layers of; complete them"
                )
            rope = cls.of_section(section or nothing, config, theta)
            if rope.kind == "yarn":
                rope.parameters.size(ORIGINAL)
            found.append(rope)
        return found[0], found[1]

    def check_windows(self, local: Rope, gguf_name: str) -> None:
        """Check that layers with a window rotate like the others, but for a scaling.

        Raises CheckpointError.
        """
        if (local.kind, local.theta) != ("default", self.theta):
            raise CheckpointError(
                f"config.json has rope_type {local.kind!r} and rope_theta {local.theta} for "
                f"sliding_attention; llama.cpp's `{gguf_name}` rotates there as elsewhere, without a scaling"
            )

    def refuse_factors(self, gguf_name: str) -> None:
        """Check that each frequency needs no factor of its own.

        Raises CheckpointError: Llama 3's scaling.
        """
        if self.kind == "llama3":
            raise CheckpointError(
                f"config.json has rope_type llama3, which llama.cpp's `{gguf_name}` doesn't know"
            )

    def original_context_length(self, default: int) -> int:
        """Return the number of tokens that the model was first trained on. Raises CheckpointError."""
        if self.original_context is not None:
            return self.original_context
        return self.parameters.size(ORIGINAL, default)

    def metadata_unless_default(self, prefix: str, context_length: int) -> Metadata:
        """Return the keys that differ from llama.cpp's defaults, for families whose converter writes none."""
        keys = self.metadata(prefix, context_length)
        if self.theta == DEFAULT_THETA:
            del keys[f"{prefix}.rope.freq_base"]
        return keys

    def section_metadata(self, prefix: str, default: tuple[int, ...] = ()) -> Metadata:
        """Return the key of M-RoPE: so many pairs of each head turn with time, height, width and nothing.

        A text's tokens have the same number for each, so that they turn as by the usual rotation.
        """
        given = self.parameters.numbers("mrope_section")
        pairs = default if given is None else tuple(int(n) for n in given)
        if not pairs:
            return {}
        sections = (*pairs, 0, 0, 0, 0)[:4]
        return {f"{prefix}.rope.dimension_sections": array(ValueType.INT32, sections)}

    def metadata(self, prefix: str, context_length: int) -> Metadata:
        """Return GGUF keys under `prefix`. Raises CheckpointError on a scaling that llama.cpp doesn't know.

        Dynamic NTK stretches only prompts longer than the training context, and llama.cpp has no key for it:
        as in its converter such a model keeps its plain frequencies. Llama 3's factors are a tensor,
        `llama3_factors`.
        """
        keys: Metadata = {f"{prefix}.rope.freq_base": float32(self.theta)}
        scaling = f"{prefix}.rope.scaling"
        match self.kind:
            case "default" | "dynamic" | "llama3" | "mrope":
                pass
            case "linear":
                keys[f"{scaling}.type"] = string("linear")
                keys[f"{scaling}.factor"] = float32(self.parameters.number("factor"))
            case "yarn":
                keys[f"{scaling}.type"] = string("yarn")
                original = self.original_context_length(context_length)
                has_null = self.parameters.first(["factor"]) and not self.parameters.has("factor")
                factor = context_length / original if has_null else self.parameters.number("factor")
                keys[f"{scaling}.factor"] = float32(factor)
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
        factor = self.parameters.number("factor")
        low = self.parameters.number("low_freq_factor")
        high = self.parameters.number("high_freq_factor")
        original = self.original_context_length(context_length)
        if not (factor > 0 and 0 < low <= high):
            raise CheckpointError(
                f"rope_scaling has the factors {factor}, {low}, {high}; it needs 0 < low <= high"
            )
        f32 = np.float32
        exponents = np.arange(0, head_dim, 2, dtype=f32) / f32(head_dim)
        frequencies = f32(1) / np.power(np.float64(self.theta), exponents.astype(np.float64)).astype(f32)
        waves = f32(1) / frequencies * f32(2 * math.pi)
        smooth = (f32(1) / waves * f32(original) - f32(low)) / f32(high - low or 1.0)
        between = f32(1) / ((f32(1) - smooth) / f32(factor) + smooth)
        factors = np.where(waves > f32(original / low), f32(factor), between)
        factors = np.where(waves < f32(original / high), f32(1), factors)
        return tuple(float(value) for value in factors)


def _section(config: ModelConfig) -> ModelConfig:
    """Return the section of rotary settings: the older name's, unless it is empty or null."""
    for name in ("rope_scaling", "rope_parameters"):
        if config.raw(name):
            section = config.section(name)
            assert section is not None, "it isn't null"
            return section
    return ModelConfig({}, "rope_parameters in config.json")
