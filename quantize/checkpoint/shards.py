"""Several files that are one checkpoint: a source over their headers, and the index that names them.

SafetensorsSource and TorchSource are ShardedSources: a format says how one file's header is read, and how
rows are read at a place in it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from models.errors import CheckpointError
from quantize.checkpoint.file_bytes import ByteSource, FileBytes
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.source import TensorEntry, TensorSource

Place = TypeVar("Place")
Sharded = TypeVar("Sharded", bound="ShardedSource[Any]")


class ShardedSource(TensorSource, Generic[Place]):
    """The tensors of one or several files of one format. Owns the files until `close()`.

    `Place` is what the format knows of where a tensor lies in its file.
    """

    def __init__(self, paths: Sequence[Path], *, open_file: Callable[[Path], ByteSource] = FileBytes) -> None:
        """Open and check every header. Raises CheckpointError with the file and the reason."""
        self._entries: dict[str, TensorEntry] = {}
        self._places: dict[str, tuple[ByteSource, Place]] = {}
        self._files: list[ByteSource] = []
        try:
            for path in paths:
                self._add(open_file(path), path.name)
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _read_header(self, file: ByteSource) -> Iterator[tuple[TensorEntry, Place]]:
        """Yield the tensors of a file. Raises CheckpointError with the file and the reason."""

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    @property
    def file_of(self) -> Mapping[str, str]:
        """The name of the file that holds each tensor."""
        return {name: file.name for name, (file, _) in self._places.items()}

    def close(self) -> None:
        while self._files:
            self._files.pop().close()

    def _add(self, file: ByteSource, file_name: str) -> None:
        self._files.append(file)
        for entry, place in self._read_header(file):
            name = entry.name
            if name in self._entries:
                raise CheckpointError(
                    f"tensor {name} is both in {self._places[name][0].name} and in {file_name};"
                    " remove the older file"
                )
            self._entries[name] = entry
            self._places[name] = (file, place)


def open_indexed(index_path: Path, open_files: Callable[[Sequence[Path]], Sharded]) -> Sharded:
    """Open the shards that an index names. Raises CheckpointError, also when the two disagree."""
    weight_map = read_index(index_path)
    source = open_files([index_path.parent / shard for shard in sorted(set(weight_map.values()))])
    try:
        check_index(index_path, weight_map, source.file_of)
    except CheckpointError:
        source.close()
        raise
    return source


def read_index(index_path: Path) -> dict[str, str]:
    """Return the weight_map: tensor name → shard, each a file in the index' folder.

    Raises CheckpointError.
    """
    weight_map = read_json_object(index_path).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(shard, str) for shard in weight_map.values())
    ):
        raise CheckpointError(f"{index_path.name} has no usable weight_map; download it again")
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard or shard in (".", ".."):
            raise CheckpointError(
                f"{index_path.name} names a shard outside its folder, {shard!r}; it isn't trusted"
            )
        if not (index_path.parent / shard).is_file():
            raise CheckpointError(
                f"{index_path.name} names {shard}, which is missing; download the checkpoint again"
            )
    return weight_map


def check_index(index_path: Path, weight_map: Mapping[str, str], file_of: Mapping[str, str]) -> None:
    """Compare the index with the shards' own headers. `file_of` maps each tensor to the file that holds it.

    Raises CheckpointError: tensors in no shard, in another shard than the index says, or not in the index.
    """
    missing = [name for name in weight_map if name not in file_of]
    unlisted = [name for name in file_of if name not in weight_map]
    misplaced = [name for name, shard in weight_map.items() if file_of.get(name) != shard]
    if missing:
        problem = f"names {_few(missing)}, in no shard"
    elif unlisted:
        problem = f"doesn't name {_few(unlisted)} of the shards"
    elif misplaced:
        name = misplaced[0]
        problem = f"says {name} is in {weight_map[name]}, it is in {file_of[name]}"
    else:
        return
    raise CheckpointError(f"{index_path.name} {problem}; download the checkpoint again")


def _few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
