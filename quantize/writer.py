"""One GGUF file being written: header, then the tensors' bytes in order, aligned; hashed on the way.

Several are written side by side. Nothing here makes a file visible to anyone: it lies in a staging folder
until the store publishes it, or under a temporary name until it is whole.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from quantize.encode import Encoded
from quantize.gguf_header import aligned
from quantize.plan import PlannedFile


@dataclass(frozen=True)
class WrittenFile:
    """A complete file on disk."""

    type: str
    path: Path
    size_bytes: int
    sha256: str
    bits_per_weight: float
    tensor_count: int


class GGUFFileWriter:
    """Writes one planned file front to back. `close` gives up what isn't finished and leaves it cut short."""

    def __init__(self, plan: PlannedFile, path: Path) -> None:
        """Create the file and write its header. Raises OSError."""
        self.plan = plan
        self._path = path
        self._sha256 = hashlib.sha256()
        self._tensor = 0
        self._in_tensor = 0
        self.n_bytes = 0
        self._file = path.open("xb", buffering=0)
        self._put(memoryview(plan.header))

    def write(self, data: Encoded) -> None:
        """The next bytes of the current tensor; padding follows its last. Raises OSError."""
        size = self.plan.tensor_bytes[self._tensor]
        self._put(data.data)
        self._in_tensor += data.nbytes
        assert self._in_tensor <= size, f"{self._in_tensor} bytes of a tensor of {size}"
        if self._in_tensor == size:
            self._put(memoryview(bytes(aligned(size) - size)))
            self._tensor, self._in_tensor = self._tensor + 1, 0

    def finish(self) -> WrittenFile:
        """Sync to disk and close. All tensors must have been written."""
        assert self._tensor == len(self.plan.tensors), "a tensor is missing"
        assert self.n_bytes == self.plan.size_bytes, "another size than planned"
        os.fsync(self._file.fileno())
        self._file.close()
        return WrittenFile(
            type=self.plan.type,
            path=self._path,
            size_bytes=self.n_bytes,
            sha256=self._sha256.hexdigest(),
            bits_per_weight=self.plan.bits_per_weight,
            tensor_count=len(self.plan.tensors),
        )

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, data: memoryview) -> None:
        self._sha256.update(data)
        self.n_bytes += len(data)
        while data:
            data = data[self._file.write(data) :]
