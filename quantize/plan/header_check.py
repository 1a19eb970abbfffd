"""The check of a planned header, as the file would be checked before it is loaded. Pure.

So a configuration that no file can be made of is refused before a tensor is read, also by a dry run.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from models.errors import CheckpointError
from models.gguf.checks import model_faults, vocabulary_faults
from models.gguf.reader import GGUFArray, GGUFTensor, Scalar
from models.llamacpp.quantization.ggml_types import type_name
from quantize.architectures.requantize import VALUE_TYPES
from quantize.gguf.header import Metadata, Value, ValueType, encode_value
from quantize.plan.plan import PlannedFile

TYPE_NAMES: Final = {number: name for name, number in {**VALUE_TYPES, "array": ValueType.ARRAY}.items()}
"""The reader's name of each type of values."""
_ARRAY_HEAD: Final = 12
"""So many bytes before an array's elements say their type and number."""


def check_header(file: PlannedFile) -> None:
    """Check a model's planned file. Raises CheckpointError with the reason why it couldn't be loaded."""
    metadata = read_back(file.metadata)
    tensors = rows([(info.name, info.ne, info.ggml_type) for info in file.tensors])
    faults = [*model_faults(metadata, tensors), *vocabulary_faults(metadata)]
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise CheckpointError(
            f"no file that can be loaded is made of this checkpoint: {faults[0]}{more}; "
            "correct config.json, or the tokenizer's files"
        )


def read_back(metadata: Metadata) -> dict[str, Scalar | GGUFArray]:
    """Return metadata as the reader of GGUF files gives it. Raises CheckpointError: what GGUF can't hold."""
    return {key: _as_read(key, value) for key, value in metadata.items()}


def rows(tensors: Sequence[tuple[str, tuple[int, ...], int]]) -> list[GGUFTensor]:
    """Return tensors, by name, shape and ggml type, as rows of the reader's table, at no place."""
    return [GGUFTensor(name, ne, type_name(kind), offset=0, nbytes=0) for name, ne, kind in tensors]


def _as_read(key: str, value: Value) -> Scalar | GGUFArray:
    try:
        key.encode()
        encoded = encode_value(value)
    except (struct.error, OverflowError, UnicodeEncodeError) as error:
        raise CheckpointError(
            f"{key!r:.80} of the file would be {str(value.data)[:60]!r}, which GGUF can't hold ({error}); "
            "correct config.json, or the tokenizer's files"
        ) from error
    if value.type is ValueType.ARRAY:
        assert value.item_type is not None
        return GGUFArray(TYPE_NAMES[value.item_type], len(value.data), encoded[_ARRAY_HEAD:])
    scalar: Scalar = value.data
    return scalar
