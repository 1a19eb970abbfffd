"""Models that see or hear around a Llama or a Mistral, of which the text part is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import SEEING_AND_HEARING
from quantize.architectures.families.llama import Llama, Mistral

DEFAULTS: Final[Mapping[str, Mapping[str, int]]] = {"llama": {}, "mistral": Mistral.defaults}
"""The kinds of text models, with the defaults of a kind that differ from Llama's."""


class LlamaInside(Llama):
    """A model of several parts whose text part is a Llama or a Mistral."""

    section: ClassVar[str] = "text_config"
    """The section of config.json that describes the text part."""

    section_defaults: ClassVar[Mapping[str, Any]] = {}
    """The fields of the section where config.json is silent, and Llama's class says otherwise."""

    ignored_prefixes: ClassVar[tuple[str, ...]] = SEEING_AND_HEARING

    def __init__(self, config: ModelConfig) -> None:
        text = config.with_section(self.section)
        kind = text.text("model_type", "llama") if config.has(self.section) else "llama"
        if kind not in DEFAULTS:
            raise CheckpointError(
                f"config.json has a text model {kind!r}; known are {' and '.join(DEFAULTS)} for "
                f"{config.architecture()}"
            )
        super().__init__(text.over({**DEFAULTS[kind], **self.section_defaults}))


class Llava(LlamaInside):
    """LlavaForConditionalGeneration: LLaVA 1.5, Pixtral."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("LlavaForConditionalGeneration",)


class Voxtral(LlamaInside):
    """VoxtralForConditionalGeneration."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("VoxtralForConditionalGeneration",)
    section_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 131072,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 30,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000000.0,
        "head_dim": 128,
    }


class Janus(LlamaInside):
    """JanusForConditionalGeneration."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("JanusForConditionalGeneration",)
    default_tied = True
    ignored_prefixes: ClassVar[tuple[str, ...]] = (
        "vision_model.",
        "aligner.",
        "vqmodel.",
        "generation_embeddings.",
        "generation_aligner.",
        "generation_head.",
    )


class SmolVLM(LlamaInside):
    """Idefics3ForConditionalGeneration and SmolVLMForConditionalGeneration."""

    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Idefics3ForConditionalGeneration",
        "SmolVLMForConditionalGeneration",
    )
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("text_model.", ""),)
    ignored_prefixes: ClassVar[tuple[str, ...]] = ("vision_model.", "connector.")


class Sarashina2Vision(LlamaInside):
    """Sarashina2VisionForCausalLM, whose text part is under `llm.`."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Sarashina2VisionForCausalLM",)
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("llm.", ""),)
    ignored_prefixes: ClassVar[tuple[str, ...]] = ("visual.", "norm.")
