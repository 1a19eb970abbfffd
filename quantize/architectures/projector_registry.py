"""The projectors, found in their folder, and which of them a checkpoint has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import quantize.architectures.projectors as folder
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.projector import Projector
from quantize.architectures.folder_classes import folder_classes

PROJECTORS: Final[Mapping[str, type[Projector]]] = {
    name: found for found in folder_classes(folder) for name in found.huggingface_names
}
"""The projector's class for each entry of `architectures` that has one here."""


def projector_class(config: Mapping[str, Any]) -> type[Projector] | None:
    """Return the projector's class of a checkpoint; None where none is known here. Raises CheckpointError."""
    return PROJECTORS.get(ModelConfig(config).architecture())
