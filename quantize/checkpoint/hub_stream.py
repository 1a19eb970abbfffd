"""A checkpoint of the Hub whose weights never reach the disk: they are fetched while quantized.

config.json, the tokenizer and the other small files, dense layers among them, are downloaded as usual. The
weights' headers come first; then the tensors, in ranges, ahead of the pass and in its order (`prefetch`).
Only safetensors can be read so: their headers say where everything is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from models.errors import CheckpointError, HubError
from models.hub import download as hub
from models.hub.download import DownloadPlan
from models.hub.files import RemoteFile
from models.hub.ranges import RangeReader
from models.paths import Paths
from models.weight_files import INDEX_SUFFIX, WeightFiles, choose_weight_files
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.file_bytes import ByteSource
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.prefetch import Prefetcher
from quantize.checkpoint.quantized.detect import dequantize
from quantize.checkpoint.safetensors import SUFFIX, SafetensorsSource
from quantize.checkpoint.sentence_modules import with_dense_weights
from quantize.checkpoint.shards import read_index
from quantize.control import JobControl

PREFETCH_BYTES: Final = 256 * 2**20
"""A stream prefetches at most this many bytes."""


class HubStream:
    """One checkpoint to be streamed. `open` it once; `check` it before its results are published.

    At most a quarter of `memory_bytes` is prefetched.
    """

    def __init__(
        self,
        download: DownloadPlan,
        paths: Paths,
        control: JobControl | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self._download = download
        self._paths = paths
        self._control = control or JobControl()
        quarter = PREFETCH_BYTES if memory_bytes is None else memory_bytes // 4
        self._prefetch_bytes = min(PREFETCH_BYTES, quarter)
        self._prefetcher: Prefetcher | None = None

    def open(self) -> Checkpoint:
        """Download the small files, read the weights' headers. Raises HubError, CheckpointError."""
        download = self._download
        weights = [file for file in download.files if _is_weights(file.path)]
        remote = {file.path: file.file for file in weights if file.path.endswith(SUFFIX)}
        small = tuple(file for file in download.files if not _is_weights(file.path))
        if not remote:
            raise CheckpointError(
                f"{download.repo} has no safetensors, and only those are streamed; leave out --stream"
            )
        if not download.online:
            raise HubError(f"{download.repo} can't be streamed without a connection; leave out --stream")
        control = self._control
        folder = hub.run(
            replace(download, files=small), control.on_download, control.cancel, paths=self._paths
        )
        files = _weight_files(download.repo, folder, remote)
        streamed = [remote[name] for name in files.names]
        reader = hub.ranges(download)
        prefetcher = self._prefetcher = Prefetcher(reader, streamed, self._prefetch_bytes)
        try:
            config = read_json_object(folder / "config.json")
            remote_bytes = {folder / file.path: RemoteBytes(file, reader, prefetcher) for file in streamed}
            raw = HubStreamSource(remote_bytes, files.weight_map, prefetcher)
            floats = dequantize(raw, config, folder)
            return Checkpoint(folder, config, with_dense_weights(floats, folder))
        except BaseException:  # its threads end with Ctrl-C, too
            prefetcher.close()
            raise

    def check(self) -> None:
        """Wait for everything that was expected. Raises HubError, also when a known hash is wrong."""
        if self._prefetcher is not None:
            self._prefetcher.finish()

    def verification_lines(self) -> tuple[str, ...]:
        """Return a line per file that says which of its properties were checked."""
        if self._prefetcher is None:
            return ()
        lines: list[str] = []
        for name, why in self._prefetcher.unverified_reasons().items():
            result = (
                "sha256 is the Hub's"
                if why is None
                else f"size and commit are the Hub's, sha256 unknown: {why}"
            )
            lines.append(f"{name}: {result}")
        return tuple(lines)


class HubStreamSource(SafetensorsSource):
    """The tensors of a stream as they are stored, which come in the order that `expect` announces."""

    def __init__(
        self, files: Mapping[Path, ByteSource], weight_map: Mapping[str, str], prefetcher: Prefetcher
    ) -> None:
        """Read the headers of `files`, by the path that each would have. Raises CheckpointError, HubError."""
        self._prefetcher = prefetcher
        super().__init__(list(files), open_file=files.__getitem__, weight_map=weight_map)

    @property
    def memory_bytes(self) -> int:
        return self._prefetcher.memory_bytes

    @property
    def is_stream(self) -> bool:
        return True

    def expect(self, names: Sequence[str]) -> None:
        """Begin to fetch these tensors."""
        extents = self.extents
        self._prefetcher.expect(extents[name] for name in dict.fromkeys(names))

    def close(self) -> None:
        self._prefetcher.close()
        super().close()


class RemoteBytes(ByteSource):
    """A file of the Hub: its header is fetched directly, all else comes from the prefetcher."""

    def __init__(self, file: RemoteFile, reader: RangeReader, prefetcher: Prefetcher) -> None:
        self.name = PurePosixPath(file.path).name
        self.size = file.size_bytes
        self._file = file
        self._reader = reader
        self._prefetcher = prefetcher

    def read(self, offset: int, n_bytes: int) -> bytes:
        end = min(offset + n_bytes, self.size)
        return bytes(self._reader.read(self._file, offset, end)) if end > offset else b""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise CheckpointError(f"{self.name} is shorter than its head says; try another revision")
        self._prefetcher.read(self._file.path, offset, buffer)

    def will_need(self, offset: int, n_bytes: int) -> None:
        """Do nothing: the prefetcher brings the bytes."""

    def close(self) -> None:
        """Do nothing: the stream closes the reader."""


def _weight_files(repo: str, folder: Path, names: Collection[str]) -> WeightFiles:
    """Choose among the repository's safetensors by the rule for a folder, which has their index already."""
    indexes = [path.name for path in folder.iterdir() if path.name.endswith(INDEX_SUFFIX)]
    files = choose_weight_files([*names, *indexes], lambda index: read_index(folder / index))
    if files is None:
        raise CheckpointError(f"{repo} has no weights of a model among {' '.join(sorted(names))[:200]}")
    return files


def _is_weights(path: str) -> bool:
    """Return whether a file holds the model's weights; those of dense layers, in folders, are small."""
    return "/" not in path and path.endswith((SUFFIX, ".bin", ".pt", ".pth", ".gguf"))
