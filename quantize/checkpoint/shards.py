"""Several files that are one checkpoint: a source over their headers, and the index that lists them.

SafetensorsSource and TorchSource are ShardedSources: a format says how one file's header is read, and how
rows are read at a place in it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from models.errors import CheckpointError
from models.weight_files import weight_map_of
from quantize.checkpoint.file_bytes import ByteSource, FileBytes
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.source import TensorEntry, TensorSource

Place = TypeVar("Place")
Sharded = TypeVar("Sharded", bound="ShardedSource[Any]")


class ShardedSource(TensorSource, Generic[Place]):
    """The tensors of one or several files of one format. Owns the files until `close()`.

    `Place` is what the format knows of where a tensor lies in its file.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        open_file: Callable[[Path], ByteSource] = FileBytes,
        weight_map: Mapping[str, str] | None = None,
    ) -> None:
        """Open and check every header. Raises CheckpointError with the file and the reason.

        Tensors are what the headers say. An index' `weight_map` decides between files that both have one, and
        nothing else: what it doesn't list is there, too, and what it lists in vain is not.
        """
        self._weight_map = weight_map or {}
        self._entries: dict[str, TensorEntry] = {}
        self._places: dict[str, tuple[ByteSource, Place]] = {}
        self._files: list[ByteSource] = []
        try:
            for path in paths:
                self._add(open_file(path), path.name)
        except BaseException:  # half open: nobody else closes it
            self.close()
            raise

    @abstractmethod
    def _read_header(self, file: ByteSource) -> Iterator[tuple[TensorEntry, Place]]:
        """Yield the tensors of a file. Raises CheckpointError with the file and the reason."""

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    def close(self) -> None:
        while self._files:
            self._files.pop().close()

    def _add(self, file: ByteSource, file_name: str) -> None:
        self._files.append(file)
        for entry, place in self._read_header(file):
            name = entry.name
            wanted = self._weight_map.get(name)
            if name in self._entries and wanted == file_name:
                del self._entries[name]
            elif name in self._entries and wanted == self._places[name][0].name:
                continue
            if name in self._entries:
                raise CheckpointError(
                    f"tensor {name} is both in {self._places[name][0].name} and in {file_name};"
                    " remove the older file"
                )
            self._entries[name] = entry
            self._places[name] = (file, place)


def read_index(index_path: Path) -> dict[str, str]:
    """Return the weight_map: tensor name → shard, by its name in the index' folder, there or not.

    Raises CheckpointError.
    """
    return weight_map_of(read_json_object(index_path), index_path.name)
