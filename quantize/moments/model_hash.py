"""`model_hash`: a GGUF model's identity by what it computes, without reading it all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from models.errors import InvalidGGUF
from models.gguf.info import GGUFInfo
from models.gguf.reader import GGUFArray

_TENSOR_BYTES: Final = 4096
"""So many bytes of each tensor count."""


def model_hash(info: GGUFInfo) -> str:
    """Return the sha256, in hex, over hyperparameters, and each tensor's name, shape, type and first 4 KiB.

    A name, a template or how the file was made change nothing in it. Raises InvalidGGUF if a file can't be
    read.
    """
    digest = hashlib.sha256("\0".join(_numbers(info)).encode())
    for part, path in enumerate(info.paths):
        try:
            with path.open("rb") as file:
                for tensor in info.tensors:
                    if tensor.part == part:
                        digest.update(f"\0{tensor.name} {tensor.shape} {tensor.type}\0".encode())
                        file.seek(tensor.offset)
                        digest.update(file.read(min(tensor.nbytes, _TENSOR_BYTES)))
        except OSError as error:
            raise InvalidGGUF(f"{path} can't be read: {error.strerror or error}; check the path") from error
    return digest.hexdigest()


def _numbers(info: GGUFInfo) -> Iterator[str]:
    """Yield what the architecture is told in numbers, and the size of the vocabulary."""
    yield f"{info.architecture} {info.n_vocab}"
    for key, value in sorted(info.metadata.items()):
        is_text = isinstance(value, GGUFArray) and value.element_type == "str"
        if key.startswith(f"{info.architecture}.") and not is_text:
            yield f"{key} {value.numbers() if isinstance(value, GGUFArray) else value}"
