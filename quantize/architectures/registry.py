"""The families, found in their folder, and the family of a checkpoint or of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

import quantize.architectures.families as folder
from models.errors import UnknownArchitecture
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.families.bert import Bert
from quantize.architectures.families.chatglm import ChatGLM
from quantize.architectures.families.deepseek2 import Deepseek2
from quantize.architectures.families.glm import Glm4
from quantize.architectures.families.gpt2 import GPT2
from quantize.architectures.families.llama import Llama
from quantize.architectures.families.mistral3 import Ministral3
from quantize.architectures.families.olmo2 import Olmo2
from quantize.architectures.families.qwen2 import Qwen2
from quantize.architectures.families.qwen_vl import Qwen2VL, Qwen3VLMoe
from quantize.architectures.families.t5 import T5
from quantize.architectures.folder_classes import folder_classes
from quantize.architectures.refused import REFUSED, UNKNOWN_TO_LLAMA_CPP

ARCHITECTURES: Final[tuple[type[Architecture], ...]] = folder_classes(folder)
"""Every family: each class in `families/` that has `huggingface_names` of its own."""

READING_BACK: Final[Mapping[str, type[Architecture]]] = {
    "bert": Bert,
    "chatglm": ChatGLM,
    "deepseek2": Deepseek2,
    "glm4": Glm4,
    "gpt2": GPT2,
    "llama": Llama,
    "qwen2": Qwen2,
    "qwen2vl": Qwen2VL,
    "qwen3vlmoe": Qwen3VLMoe,
    "mistral3": Ministral3,
    "olmo2": Olmo2,
    "t5": T5,
}
"""The family by which a GGUF file is read back, for each architecture that several families write."""


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Return the family of a checkpoint.

    Raises UnknownArchitecture, naming those known that are alike, or CheckpointError.
    """
    fields = ModelConfig(config)
    name = fields.architecture()
    for family in ARCHITECTURES:
        if name in family.huggingface_names:
            for section in family.sections:
                fields = fields.with_section(section, family.kept_fields)
            return family(fields.with_aliases(family.aliases))
    known = _known_near(name)
    if name in UNKNOWN_TO_LLAMA_CPP:
        raise UnknownArchitecture(
            f"{UNKNOWN_TO_LLAMA_CPP[name]} ({name}) is not known to llama.cpp, so nothing could run a file "
            f"of it; choose a model of another architecture: {known}"
        )
    if name in REFUSED:
        raise UnknownArchitecture(f"{name} is {REFUSED[name]}; choose another model: {known}")
    raise UnknownArchitecture(f"the architecture {name:.100} is not known here: {known}")


def known_architectures() -> list[str]:
    """Return the `architectures` entries that can be quantized."""
    return sorted(name for family in ARCHITECTURES for name in family.huggingface_names)


def _known_near(name: str) -> str:
    """Return how many names are known, and the most alike: all of them would fill a screen."""
    known = known_architectures()
    near = get_close_matches(name[:100], known, n=3)
    alike = f", the most alike {', '.join(near)}" if near else ""
    return f"{len(known)} names are known{alike} (docs/architectures.md has all)"


def families_by_gguf_name() -> Mapping[str, type[Architecture]]:
    """Return the family by which a GGUF file of each architecture is read back.

    Families that choose their GGUF name by the configuration, or can't be read back, are not among them.
    """
    families = (family for family in ARCHITECTURES if family.gguf_name and family.reads_back)
    return {**{family.gguf_name: family for family in families}, **READING_BACK}
