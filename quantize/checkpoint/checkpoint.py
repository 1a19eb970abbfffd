"""A checkpoint: a folder as Hugging Face lays it out, in any form of weights; or a GGUF file.

folder    config.json, weights (safetensors, torch's files; floats or quantized), tokenizer files, and folders
          of dense layers behind the pooling (2_Dense)
x.gguf    everything in one file, or in parts `x-00001-of-0000N.gguf`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.closing import Closing
from models.errors import CheckpointError
from models.gguf.info import GGUFInfo
from models.gguf.projector import is_projector_name
from models.weight_files import choose_weight_files
from quantize.checkpoint.gguf import open_gguf
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.quantized.detect import dequantize
from quantize.checkpoint.safetensors import SUFFIX as SAFETENSORS_SUFFIX
from quantize.checkpoint.safetensors import SafetensorsSource
from quantize.checkpoint.sentence_modules import with_dense_weights
from quantize.checkpoint.shards import read_index
from quantize.checkpoint.source import TensorSource
from quantize.checkpoint.torch.source import open_torch_files


@dataclass(frozen=True)
class Checkpoint(Closing):
    """An open checkpoint. `directory` also holds the tokenizer files, which `quantize.vocabulary` reads.

    `gguf` is the head of a GGUF file, which has its vocabulary and hyper-parameters inside; `config` is then
    empty. Quantized layers are offered as floats.
    """

    directory: Path
    config: dict[str, Any]
    tensors: TensorSource
    gguf: GGUFInfo | None = None

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Read config.json and the weights' headers. Raises CheckpointError and InvalidGGUF."""
        if path.is_file() and path.suffix.lower() == ".gguf":
            source = open_gguf(path)
            return cls(path.parent, {}, source, source.info)
        if not path.is_dir():
            raise CheckpointError(f"{path} is no folder; give one with config.json and weights, or a .gguf")
        if not (path / "config.json").is_file():
            raise CheckpointError(f"{path} has no config.json; {_fix(path)}")
        config = read_json_object(path / "config.json")
        weights = dequantize(open_weights(path), config, path)
        return cls(path, config, with_dense_weights(weights, path))

    def close(self) -> None:
        self.tensors.close()


def open_weights(directory: Path) -> TensorSource:
    """Open a folder's weights, whatever files they are in, as `models.weight_files` chooses them.

    Raises CheckpointError: no weights, unreadable, or an index whose files are missing.
    """
    names = [path.name for path in directory.iterdir() if path.is_file()]
    files = choose_weight_files(names, lambda index: read_index(directory / index))
    if files is None:
        raise CheckpointError(
            f"{directory} has no model.safetensors and no pytorch_model.bin; "
            "point at a folder with a model's weights"
        )
    paths = [directory / name for name in files.names]
    if paths[0].suffix == SAFETENSORS_SUFFIX:
        return SafetensorsSource(paths, weight_map=files.weight_map)
    return open_torch_files(paths, files.weight_map)


def _fix(directory: Path) -> str:
    """Return the advice about a folder without config.json."""
    if (directory / "params.json").is_file() or next(directory.glob("consolidated*"), None) is not None:
        return "these are Meta's own files: choose the repository that transformers loads (often with -hf)"
    ggufs = [path for path in sorted(directory.glob("*.gguf")) if not is_projector_name(path.name)]
    if ggufs:
        return f"give the GGUF file itself, {ggufs[0].name}"
    return "give the folder of a Hugging Face checkpoint"
