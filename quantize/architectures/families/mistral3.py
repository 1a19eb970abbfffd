"""Mistral Small 3 and Ministral 3, text only: Llama with YaRN, and queries scaled by their position.

A window in a Mistral's text part is dropped, as it is for a Mistral.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import SEEING_AND_HEARING
from quantize.architectures.base.rope import Rope
from quantize.architectures.families.llama import Mistral
from quantize.gguf.header import Metadata, float32

ROPE: Final[dict[str, Any]] = {
    "rope_type": "yarn",
    "rope_theta": 1000000.0,
    "factor": 16.0,
    "original_max_position_embeddings": 16384,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale_all_dim": 1.0,
    "mscale": 1.0,
    "llama_4_scaling_beta": 0.1,
}
"""The rotary settings of a Ministral 3 where config.json is silent."""

WITHOUT_SECTION: Final[dict[str, Any]] = {
    "vocab_size": 131072,
    "hidden_size": 5120,
    "intermediate_size": 32768,
    "num_hidden_layers": 40,
    "head_dim": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000000.0,
}
"""The text model of a Mistral Small 3 whose config.json has no section for it."""

TEXT_MODELS: Final = ("mistral", "ministral3")


class Ministral3(Mistral):
    """Ministral3ForCausalLM."""

    gguf_name = "mistral3"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Ministral3ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 131072,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 34,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262144,
    }
    default_epsilon = 1e-5
    null_kv_heads = False
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if self.scales_queries and config.optional_size("sliding_window") is not None:
            raise CheckpointError(
                f"config.json has a sliding_window; llama.cpp's `{self.gguf_name}` attends to everything"
            )

    @property
    def scales_queries(self) -> bool:
        """True for a Ministral 3."""
        return True

    def _read_rope(self) -> Rope:
        if not self.scales_queries:
            return super()._read_rope()
        return Rope.of_or_assumed(self.config, ROPE, self.default_theta)

    def metadata(self) -> Metadata:
        keys, prefix = super().metadata(), self.gguf_name
        if not self.scales_queries:
            return keys
        if self.rope.kind != "yarn":
            raise CheckpointError(
                f"config.json has rope_type {self.rope.kind!r}; llama.cpp's `{prefix}` scales the queries of "
                "a Ministral 3 by the context before YaRN"
            )
        parameters = self.rope.parameters
        keys[f"{prefix}.rope.scaling.yarn_log_multiplier"] = float32(parameters.number("mscale_all_dim"))
        keys[f"{prefix}.attention.temperature_scale"] = float32(parameters.number("llama_4_scaling_beta"))
        return keys


class Mistral3(Ministral3):
    """Mistral3ForConditionalGeneration: a text model of Mistral's kind or of Ministral 3's."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Mistral3ForConditionalGeneration",)
    defaults: ClassVar[dict[str, int]] = Mistral.defaults
    default_epsilon = Mistral.default_epsilon
    default_tied = True
    ignored_prefixes: ClassVar[tuple[str, ...]] = SEEING_AND_HEARING

    def __init__(self, config: ModelConfig) -> None:
        has_text = config.has("text_config")
        text = config.with_section("text_config") if has_text else config.over(WITHOUT_SECTION)
        self.kind = text.text("model_type", "mistral") if has_text else "mistral"
        if self.kind not in TEXT_MODELS:
            raise CheckpointError(
                f"config.json has a text model {self.kind!r}; known are {' and '.join(TEXT_MODELS)}"
            )
        of_kind = {**Ministral3.defaults, "rms_norm_eps": Ministral3.default_epsilon}
        super().__init__(text.over(of_kind) if self.kind == "ministral3" else text)

    @property
    def scales_queries(self) -> bool:
        """True if the text model is a Ministral 3."""
        return self.kind == "ministral3"
