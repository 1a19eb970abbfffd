"""Sentence-transformers' modules: their folders, and the dense layers' settings and weights.

modules.json               [{"type": "….Pooling", "path": "1_Pooling", …}, {"type": "….Dense", …}, …]
2_Dense/config.json        {"in_features": 768, "out_features": 3072, "bias": false, "activation_function": …}
2_Dense/model.safetensors  linear.weight
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from models.errors import CheckpointError
from quantize.checkpoint.json_file import parse_json, read_bounded, read_json_object
from quantize.checkpoint.safetensors import SafetensorsSource
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource

MODULES_FILE: Final = "modules.json"
WEIGHTS_FILE: Final = "model.safetensors"
"""The weights of a module, in its folder."""
MAX_PATH_CHARS: Final = 255
_MODULES_LIMIT_BYTES: Final = 2**20
_LARGEST_SIZE: Final = 2**31 - 1


@dataclass(frozen=True)
class Module:
    """An entry of modules.json. `path` is as it stands there; `folder` checks it."""

    type: str
    path: Any

    @property
    def folder(self) -> str:
        """The module's folder inside the checkpoint's. Raises CheckpointError: outside it, or no path."""
        path = self.path
        parts = PurePosixPath(path).parts if isinstance(path, str) else ()
        if not parts or ".." in parts or parts[0] == "/":
            raise CheckpointError(
                f"modules.json names the folder {path!r:.80}, outside its own; it isn't trusted"
            )
        if len(path) > MAX_PATH_CHARS or not path.isprintable():
            raise CheckpointError(
                f"modules.json names the folder {path!r:.80}, which can't be one; correct it"
            )
        return str(path)


@dataclass(frozen=True)
class DenseLayer:
    """A matrix behind the pooling, from vectors of `n_in` numbers to `n_out`; what else it computes.

    `folder` is the beginning of its tensors' names: `2_Dense.linear.weight`.
    """

    folder: str
    n_in: int
    n_out: int
    has_bias: bool
    activation: str

    @property
    def weight_name(self) -> str:
        """The name of its matrix among the checkpoint's tensors."""
        return f"{self.folder}.linear.weight"

    def require_linear(self, architecture: str, n_in: int) -> None:
        """Check that llama.cpp's `architecture` computes the layer, to which `n_in` numbers come.

        Raises CheckpointError: a bias, an activation, another width.
        """
        if self.has_bias or not self.activation.endswith(".Identity"):
            raise CheckpointError(
                f"{self.folder}/config.json has a bias or the activation {self.activation:.80}; "
                f"llama.cpp's `{architecture}` computes neither"
            )
        if self.n_in != n_in:
            raise CheckpointError(
                f"{self.folder}/config.json has in_features {self.n_in}; {n_in} numbers come to it"
            )


def read_modules(directory: Path) -> tuple[Module, ...]:
    """Return the modules of a checkpoint, none where there is no modules.json. Raises CheckpointError."""
    path = directory / MODULES_FILE
    if not path.is_file():
        return ()
    modules = parse_json(read_bounded(path, _MODULES_LIMIT_BYTES), MODULES_FILE)
    found = [module for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    return tuple(Module(str(module.get("type")), module.get("path")) for module in found)


def dense_layers(directory: Path) -> tuple[DenseLayer, ...]:
    """Return a checkpoint's dense layers, in the order in which they are computed. Raises CheckpointError."""
    return tuple(_read_dense(directory, folder) for folder in _dense_folders(directory))


def require_dense_weights(layers: Sequence[DenseLayer], names: Collection[str]) -> None:
    """Check that a checkpoint of tensors called `names` has those of its dense layers.

    Raises CheckpointError: a layer's file is missing, or its matrix in it.
    """
    for layer in layers:
        if layer.weight_name not in names:
            raise CheckpointError(
                f"the checkpoint lacks {layer.folder}/{WEIGHTS_FILE} with a linear.weight, a layer of its "
                "modules.json; download the whole repository, its folders too"
            )


def with_dense_weights(tensors: TensorSource, directory: Path) -> TensorSource:
    """Return the tensors with those of the dense layers in `directory`, under their folders' names.

    A layer without weights adds none: whoever needs them says what is missing. `tensors` is closed if this
    fails. Raises CheckpointError: weights that can't be read.
    """
    with ExitStack() as stack:
        stack.callback(tensors.close)
        modules = {}
        for folder in _dense_folders(directory):
            path = directory / folder / WEIGHTS_FILE
            if path.is_file():
                modules[folder] = stack.enter_context(closing(SafetensorsSource([path])))
        joined = SourceWithModules(tensors, modules) if modules else tensors
        stack.pop_all()
        return joined


class SourceWithModules(TensorSource):
    """The tensors of `model`, and those of its modules under `<folder>.`. Owns them all."""

    def __init__(self, model: TensorSource, modules: Mapping[str, TensorSource]) -> None:
        self._model = model
        self._modules = dict(modules)
        self._places: dict[str, tuple[TensorSource, str]] = {}
        entries = dict(model.entries)
        for folder, source in self._modules.items():
            for name, entry in source.entries.items():
                known_as = f"{folder}.{name}"
                self._places[known_as] = (source, name)
                entries[known_as] = replace(entry, name=known_as)
        self._entries = MappingProxyType(entries)

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    @property
    def memory_bytes(self) -> int:
        return self._model.memory_bytes

    @property
    def working_itemsize(self) -> int:
        return self._model.working_itemsize

    @property
    def is_stream(self) -> bool:
        return self._model.is_stream

    def expect(self, names: Sequence[str]) -> None:
        self._model.expect([name for name in names if name not in self._places])

    def rows(self, name: str, start: int, stop: int) -> Rows:
        source, own = self._places.get(name, (self._model, name))
        return source.rows(own, start, stop)

    def columns(self, name: str, start: int, stop: int) -> Rows:
        source, own = self._places.get(name, (self._model, name))
        return source.columns(own, start, stop)

    def close(self) -> None:
        self._model.close()
        for source in self._modules.values():
            source.close()


def _dense_folders(directory: Path) -> list[str]:
    return [module.folder for module in read_modules(directory) if module.type.endswith(".Dense")]


def _read_dense(directory: Path, folder: str) -> DenseLayer:
    path = directory / folder / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"modules.json has the layer {folder}, and {folder}/config.json isn't there; "
            "download the whole repository, its folders too"
        )
    settings = read_json_object(path)
    sizes = [settings.get(name) for name in ("in_features", "out_features")]
    n_in, n_out = (size if type(size) is int and 0 < size <= _LARGEST_SIZE else 0 for size in sizes)
    if not n_in or not n_out:
        raise CheckpointError(
            f"{folder}/config.json has in_features {sizes[0]!r:.40} and out_features {sizes[1]!r:.40}; "
            "they must be numbers from 1 on"
        )
    activation = settings.get("activation_function", "torch.nn.modules.activation.Tanh")
    return DenseLayer(folder, n_in, n_out, settings.get("bias", True) is not False, str(activation))
