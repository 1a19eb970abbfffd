"""The weights of a folder, whatever files they are in: safetensors before torch's, as transformers has it."""

from __future__ import annotations

from pathlib import Path

from models.errors import CheckpointError
from quantize.checkpoint.safetensors import find_safetensors
from quantize.checkpoint.source import TensorSource
from quantize.checkpoint.torch.source import find_torch_files


def open_weights(directory: Path) -> TensorSource:
    """Raises CheckpointError: no weights, unreadable, or index and shards disagree."""
    source = find_safetensors(directory) or find_torch_files(directory)
    if source is None:
        raise CheckpointError(
            f"{directory} has no model.safetensors and no pytorch_model.bin; "
            "point at a folder with a model's weights"
        )
    return source
