"""A checkpoint of the Hub whose weights are never on this disk: read in ranges while they are quantized.

config.json, the tokenizer and the other small files are downloaded as ever. Of the weights, the heads come
first; then the tensors, ahead of the pass and in its order (`read_ahead`). Only safetensors can be read so:
their heads say where everything is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from models.errors import CheckpointError, HubError
from models.hub import download as hub
from models.hub.download import DownloadPlan, DownloadProgress
from models.hub.files import RemoteFile
from models.hub.ranges import RangeReader
from models.paths import Paths
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.file_bytes import FileBytes
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.prefetch import Extent, ReadAhead
from quantize.checkpoint.quantized.detect import dequantized
from quantize.checkpoint.safetensors import SafetensorsSource
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource

READ_AHEAD_BYTES: Final = 256 * 2**20
_SUFFIX: Final = ".safetensors"


class Streamed:
    """One checkpoint to be streamed. `open` once; `check` before what was made of it is published.

    At most a quarter of `memory_bytes` is read ahead.
    """

    def __init__(
        self,
        download: DownloadPlan,
        paths: Paths,
        on_download: Callable[[DownloadProgress], None] | None = None,
        cancel: threading.Event | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self._download = download
        self._paths = paths
        self._on_download = on_download
        self._cancel = cancel
        quarter = READ_AHEAD_BYTES if memory_bytes is None else memory_bytes // 4
        self._read_ahead_bytes = min(READ_AHEAD_BYTES, quarter)
        self._ahead: ReadAhead | None = None

    def open(self) -> Checkpoint:
        """Download the small files, read the weights' heads. Raises HubError, CheckpointError."""
        download = self._download
        weights = [file.file for file in download.files if file.path.endswith(_SUFFIX)]
        small = tuple(file for file in download.files if not _is_weights(file.path))
        if not weights:
            raise CheckpointError(
                f"{download.repo} has no safetensors, and only those are streamed; leave out --stream"
            )
        if not download.online:
            raise HubError(f"{download.repo} can't be streamed without a connection; leave out --stream")
        folder = hub.run(replace(download, files=small), self._on_download, self._cancel, paths=self._paths)
        reader = hub.ranges(download)
        self._ahead = ReadAhead(reader, weights, self._read_ahead_bytes)
        remote = {file.path: file for file in weights}
        try:
            config = read_json_object(folder / "config.json")
            raw = SafetensorsSource(
                [folder / file.path for file in weights],
                open_file=lambda path: _RemoteBytes(path, remote[path.name], reader, self._ahead),
            )
            return Checkpoint(
                folder, config, StreamedSource(dequantized(raw, config, folder), raw, self._ahead)
            )
        except BaseException:
            self._ahead.close()
            raise

    def check(self) -> None:
        """All that was expected has come, and hashes that are known are right. Raises HubError."""
        if self._ahead is not None:
            self._ahead.finish()

    def verified(self) -> tuple[str, ...]:
        """A line per file: what of it was checked."""
        if self._ahead is None:
            return ()
        lines: list[str] = []
        for name, why in self._ahead.verified().items():
            checked = (
                "sha256 is the Hub's"
                if why is None
                else f"size and commit are the Hub's, sha256 unknown: {why}"
            )
            lines.append(f"{name}: {checked}")
        return tuple(lines)


class StreamedSource:
    """The floats of a stream. `expect` the tensors in the order in which they will be read."""

    def __init__(self, floats: TensorSource, raw: SafetensorsSource, ahead: ReadAhead) -> None:
        self._floats = floats
        self._raw = raw
        self._ahead = ahead

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._floats.entries

    @property
    def memory_bytes(self) -> int:
        return self._ahead.memory_bytes

    def expect(self, names: Sequence[str]) -> None:
        """These tensors will be read, each once, in this order."""
        self._ahead.expect(self._extents(names))

    def rows(self, name: str, start: int, stop: int) -> Rows:
        return self._floats.rows(name, start, stop)

    def close(self) -> None:
        self._ahead.close()
        self._floats.close()

    def _extents(self, names: Sequence[str]) -> Iterator[Extent]:
        """Where their bytes are; of a quantized layer's weight, those of all tensors it is made from."""
        extents = self._raw.extents
        layers: dict[str, list[str]] = {}
        for raw in extents:
            layers.setdefault(raw.rpartition(".")[0], []).append(raw)
        for name in dict.fromkeys(names):
            for part in [name] if name in extents else layers.get(name.rpartition(".")[0], []):
                yield extents[part]


class _RemoteBytes(FileBytes):
    """A file of the Hub: its head is asked for directly, all else comes from what is read ahead."""

    def __init__(self, path: Path, file: RemoteFile, reader: RangeReader, ahead: ReadAhead | None) -> None:
        self.path = path
        self.name = path.name
        self.size = file.size_bytes
        self._file = file
        self._reader = reader
        self._ahead = ahead

    def read(self, offset: int, n_bytes: int) -> bytes:
        end = min(offset + n_bytes, self.size)
        return bytes(self._reader.read(self._file, offset, end)) if end > offset else b""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        assert self._ahead is not None
        if offset + len(buffer) > self.size:
            raise CheckpointError(f"{self.name} is shorter than its head says; try another revision")
        self._ahead.read(self._file.path, offset, buffer)

    def will_need(self, offset: int, n_bytes: int) -> None:
        """It is on its way."""

    def close(self) -> None:
        """Nothing is open."""


def _is_weights(path: str) -> bool:
    return path.endswith((_SUFFIX, ".bin", ".pt", ".pth", ".gguf"))
