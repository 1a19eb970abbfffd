"""The bytes of one file, by offset: the only way in which checkpoints are read.

Read with `pread` rather than through a memory map: a file cut short under our feet is then an error and not a
SIGBUS, memory in use is what we allocated, and several threads share one descriptor.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError

_POINTER: Final = b"version https://git-lfs"
_POINTER_LIMIT_BYTES: Final = 1024
_HAS_ADVICE: Final = hasattr(os, "posix_fadvise")


class FileBytes:
    """An open file. Owns its descriptor until `close()`; reads are safe from several threads at once."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError when it can't be opened."""
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
        """`n_bytes` at `offset`, fewer where the file ends. Raises CheckpointError."""
        try:
            return os.pread(self._fd, n_bytes, offset)
        except OSError as error:
            raise self._unreadable(error) from error

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` (bytes). Raises CheckpointError, also when the file ends before."""
        done = 0
        while done < len(buffer):
            try:
                n_read = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise self._unreadable(error) from error
            if n_read == 0:
                raise CheckpointError(f"{self.name} became shorter while it was read; download it again")
            done += n_read

    def read_array(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """A new array in C order, its bytes as they lie in the file. Raises CheckpointError."""
        out = np.empty(shape, dtype)
        self.read_into(offset, out.reshape(-1).view(np.uint8).data)
        return out

    def will_need(self, offset: int, n_bytes: int) -> None:
        """Tell the system that these bytes are read soon, in small pieces."""
        if _HAS_ADVICE:
            os.posix_fadvise(self._fd, offset, n_bytes, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._fd)

    def _unreadable(self, error: OSError) -> CheckpointError:
        return CheckpointError(f"{self.name} can't be read: {error.strerror}; check the disk")
