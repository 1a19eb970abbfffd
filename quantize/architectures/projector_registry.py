"""The projectors, found in their folder, and which of them a checkpoint has."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Final

import quantize.architectures.projectors as folder
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.projector import Projector


def _projectors() -> Mapping[str, type[Projector]]:
    """Return the classes of the folder's files by the `architectures` entries that they name."""
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    modules = [importlib.import_module(f"{folder.__name__}.{name}") for name in names]
    classes = (
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Projector)
        and value.__module__ == module.__name__
        and "huggingface_names" in vars(value)
    )
    return {name: found for found in classes for name in found.huggingface_names}


PROJECTORS: Final[Mapping[str, type[Projector]]] = _projectors()
"""The projector's class for each entry of `architectures` that has one here."""


def projector_class(config: Mapping[str, Any]) -> type[Projector] | None:
    """Return the projector's class of a checkpoint; None where none is known here. Raises CheckpointError."""
    return PROJECTORS.get(ModelConfig(config).architecture())
