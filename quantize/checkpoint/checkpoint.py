"""A checkpoint: a folder with config.json, weights and tokenizer files, as Hugging Face lays it out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from models.errors import CheckpointError
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.safetensors import open_safetensors
from quantize.checkpoint.source import TensorSource


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint. `directory` also holds the tokenizer files, which `quantize.vocabulary` reads."""

    directory: Path
    config: dict[str, Any]
    tensors: TensorSource

    @classmethod
    def open(cls, directory: Path) -> Checkpoint:
        """Read config.json and the weights' headers. Raises CheckpointError with file and reason."""
        if not directory.is_dir():
            raise CheckpointError(f"{directory} is no folder; give a folder with config.json and safetensors")
        if not (directory / "config.json").is_file():
            raise CheckpointError(
                f"{directory} has no config.json; give the folder of a Hugging Face checkpoint"
            )
        config = read_json_object(directory / "config.json")
        return cls(directory, config, open_safetensors(directory))

    def close(self) -> None:
        self.tensors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
