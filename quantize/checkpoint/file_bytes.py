"""The bytes of one file, by offset: the only way in which checkpoints are read.

Read with `pread` rather than through a memory map: a file cut short under our feet is then an error and not a
SIGBUS, memory in use is what we allocated, and several threads share one descriptor.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError

_POINTER: Final = b"version https://git-lfs"
_POINTER_LIMIT_BYTES: Final = 1024
_HAS_ADVICE: Final = hasattr(os, "posix_fadvise")


class ByteSource(ABC):
    """The bytes of one file, wherever it is: `size` bytes, called `name` in errors. Reads are thread-safe."""

    name: str
    size: int

    @abstractmethod
    def read(self, offset: int, n_bytes: int) -> bytes:
        """Return `n_bytes` at `offset`, fewer where the file ends. Raises CheckpointError or HubError."""

    @abstractmethod
    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` (bytes). Raises CheckpointError, also when the file ends before, or HubError."""

    @abstractmethod
    def will_need(self, offset: int, n_bytes: int) -> None:
        """Announce that these bytes are read soon, in small pieces."""

    @abstractmethod
    def close(self) -> None:
        """Release the file; no read may follow."""

    def read_array(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return a new array in C order, its bytes as they lie in the file. Raises as `read_into` does."""
        out = np.empty(shape, dtype)
        self.read_into(offset, out.reshape(-1).view(np.uint8).data)
        return out


class FileBytes(ByteSource):
    """An open file of this machine. Owns its descriptor until `close()`."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises CheckpointError when it can't be opened, or is a Git LFS pointer."""
        self.path = path
        self.name = path.name
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CheckpointError(
                f"{path} can't be opened: {error.strerror}; download the checkpoint again"
            ) from error
        self.size = os.fstat(self._fd).st_size
        self._open = True
        if self.size < _POINTER_LIMIT_BYTES and self.read(0, len(_POINTER)) == _POINTER:
            self.close()
            raise CheckpointError(
                f"{path.name} is a Git LFS pointer and not the weights; run git lfs pull, or download it"
            )

    def read(self, offset: int, n_bytes: int) -> bytes:
        try:
            return os.pread(self._fd, n_bytes, offset)
        except OSError as error:
            raise self._unreadable(error) from error

    def read_into(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                n_read = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise self._unreadable(error) from error
            if n_read == 0:
                raise CheckpointError(f"{self.name} became shorter while it was read; download it again")
            done += n_read

    def will_need(self, offset: int, n_bytes: int) -> None:
        if _HAS_ADVICE:
            os.posix_fadvise(self._fd, offset, n_bytes, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._fd)

    def _unreadable(self, error: OSError) -> CheckpointError:
        return CheckpointError(f"{self.name} can't be read: {error.strerror}; check the disk")
