"""`model_hash`: a GGUF file's identity without reading it all: header, sizes, each tensor's beginning."""

from __future__ import annotations

import hashlib
from typing import Final

from models.errors import InvalidGGUF
from models.gguf.info import GGUFInfo

_TENSOR_BYTES: Final = 4096
"""So many bytes of each tensor count."""


def model_hash(info: GGUFInfo) -> str:
    """Return the sha256, in hex, over the model's files: their sizes and headers, and 4 KiB of each tensor.

    Raises InvalidGGUF if a file can't be read.
    """
    digest = hashlib.sha256()
    for part, path in enumerate(info.paths):
        try:
            digest.update(f"{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                tensors = [tensor for tensor in info.tensors if tensor.part == part]
                first = min((tensor.offset for tensor in tensors), default=0)
                digest.update(file.read(first))
                for tensor in tensors:
                    file.seek(tensor.offset)
                    digest.update(file.read(min(tensor.nbytes, _TENSOR_BYTES)))
        except OSError as error:
            raise InvalidGGUF(f"{path} can't be read: {error.strerror or error}; check the path") from error
    return digest.hexdigest()
