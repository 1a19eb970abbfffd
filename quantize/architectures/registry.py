"""From config.json's `architectures` entry to the family that maps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.errors import UnknownArchitecture
from quantize.architectures.architecture import Architecture
from quantize.architectures.config import ModelConfig
from quantize.architectures.llama import Llama, Mistral

ARCHITECTURES: Final[tuple[type[Architecture], ...]] = (Llama, Mistral)


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The family of a checkpoint. Raises UnknownArchitecture, naming those known, or CheckpointError."""
    fields = ModelConfig(config)
    name = fields.architecture()
    for family in ARCHITECTURES:
        if name in family.huggingface_names:
            return family(fields)
    known = ", ".join(known_architectures())
    raise UnknownArchitecture(f"the architecture {name} is not known here; known are {known}")


def known_architectures() -> list[str]:
    """The `architectures` entries that can be quantized."""
    return sorted(name for family in ARCHITECTURES for name in family.huggingface_names)
