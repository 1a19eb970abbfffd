"""Gemma 3, text only: Gemma 2 with norms of queries and keys instead of soft caps.

Five of six layers have a window, and rotary frequencies of their own. Vision towers are left out.
"""

from __future__ import annotations

from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rope import DEFAULT_THETA, LAYER_TYPES, Rope
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.sliding_window import sliding_layers, sliding_window_metadata
from quantize.architectures.base.transform import Transform
from quantize.architectures.families.gemma import ADD_ONE, Gemma2
from quantize.gguf.header import Metadata, boolean, float32
from quantize.vocabulary.vocabulary import Vocabulary

VISION = ("vision_tower.", "multi_modal_projector.")


class Gemma3(Gemma2):
    """Gemma3ForCausalLM, and the text part of Gemma3ForConditionalGeneration."""

    gguf_name = "gemma3"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration")
    ignored_prefixes = VISION
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 262208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
    }
    default_theta = 1e6
    has_output = True
    window_period = 6
    largest_layers = 62
    shift: ClassVar[Transform] = ADD_ONE
    """The transform of norms whose stored weights are added to one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.with_section("text_config"))
        if self.config.optional_number("attn_logit_softcapping") is not None:
            raise CheckpointError(
                "config.json has attn_logit_softcapping; llama.cpp's `gemma3` doesn't cap attention"
            )

    def _read_rope(self) -> Rope:
        """Return the settings of layers without a window, and set `local_theta`, the base of the others."""
        config, nothing = self.config, ModelConfig({})
        nested = config.section("rope_parameters") or nothing
        full, local = (nested.section(kind) or nothing for kind in LAYER_TYPES)
        local_rope = self._section_rope(local, "rope_local_base_freq", DEFAULT_THETA)
        if local_rope.kind != "default":
            raise CheckpointError(
                f"config.json has the rope_type {local_rope.kind!r} for sliding_attention; llama.cpp's "
                "`gemma3` doesn't scale the rotation there"
            )
        self.local_theta = local_rope.theta
        scaling = full.under(config.section("rope_scaling"))
        return self._section_rope(scaling, "rope_theta", self.default_theta)

    def _section_rope(self, section: ModelConfig, name: str, default: float) -> Rope:
        """Return the settings of one type of layer; `name` is its base outside the section."""
        said = section.first(["rope_theta"]) is not None
        theta = default if said else self.config.number(name, default)
        return Rope.of_section(section, self.config, theta)

    def metadata(self) -> Metadata:
        prefix, n_layer = self.gguf_name, self.hyperparameters.n_layer
        keys = self.size_metadata() | self.epsilon_metadata() | self.head_size_metadata()
        keys |= self.rope.metadata(prefix, self.context_length)
        keys[f"{prefix}.rope.freq_base_swa"] = float32(self.local_theta)
        cap = self.config.optional_number("final_logit_softcapping")
        if cap:
            keys[f"{prefix}.final_logit_softcapping"] = float32(cap)
        if any(sliding_layers(self.config, n_layer, self.window_period)):
            window = self.config.size("sliding_window", 4096)
            keys |= sliding_window_metadata(self.config, prefix, n_layer, window, self.window_period)
        return keys

    def attention_rules(
        self,
        source: str,
        target: str,
        *,
        qkv_bias: bool = False,
        output: str = "o_proj",
        output_bias: bool = False,
    ) -> list[TensorRule]:
        rules = Decoder.attention_rules(
            self, source, target, qkv_bias=qkv_bias, output=output, output_bias=output_bias
        )
        for part in ("q", "k"):
            rules += norm_rules(
                f"{target}.attn_{part}_norm", f"{source}.self_attn.{part}_norm", self.head_dim, self.shift
            )
        return rules

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        spaces = {"tokenizer.ggml.add_space_prefix": boolean(False)}
        return spaces if vocabulary.model == "llama" else {}
