"""The objects that a tensor's pickle may mention: names, storages, tensors; their numbers are checked.

Nothing here is torch's: a name is a token that is compared, a tensor is five numbers. `unpickle` makes
them while it reads a pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np

MAX_AXES: Final = 8
"""A tensor may have at most this many axes."""

MAX_ELEMENTS: Final = 2**48
"""A tensor may have at most this many elements."""

SMALL_ELEMENTS: Final = 2**20
"""A tensor that repeats its storage's numbers (stride 0) may have at most this many elements."""

STORAGES: Final[Mapping[str, np.dtype[Any]]] = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
DTYPE_NAMES: Final = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
)


class NotATensor(Exception):
    """Numbers that describe no storage or tensor; the text continues a sentence about the pickle."""


class Global:
    """A name that a pickle may mention. It is compared by identity; its text is for errors."""

    def __init__(self, name: str) -> None:
        self.name = name


REBUILD_TENSOR: Final = Global("torch._utils._rebuild_tensor_v2")
REBUILD_PARAMETER: Final = Global("torch._utils._rebuild_parameter")
ORDERED_DICT: Final = Global("collections.OrderedDict")
_STORAGE_TYPES: Final = {Global(f"torch.{name}"): dtype for name, dtype in STORAGES.items()}
_DTYPES: Final = tuple(Global(f"torch.{name}") for name in DTYPE_NAMES)
GLOBALS: Final[Mapping[tuple[str, str], Global]] = {
    (known.name.rpartition(".")[0], known.name.rpartition(".")[2]): known
    for known in (REBUILD_TENSOR, REBUILD_PARAMETER, ORDERED_DICT, *_STORAGE_TYPES, *_DTYPES)
}
"""Every name that a pickle may mention, by its module and name."""


@dataclass(frozen=True)
class Storage:
    """The numbers that the file holds under `key`: `n_elements` of `dtype`."""

    key: str
    dtype: np.dtype[Any]
    n_elements: int


@dataclass(frozen=True)
class PickledTensor:
    """A view of a storage, in elements; every one of its elements lies in the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def storage_of(reference: Any) -> Storage:
    """Return the storage that a pickle refers to by a tuple. Raises NotATensor.

    The tuple is ('storage', type, key, location, n_elements), in older files with a sixth item that must be
    None.
    """
    if not (isinstance(reference, tuple) and len(reference) in (5, 6) and reference[0] == "storage"):
        raise NotATensor("refers to something outside that is no storage")
    _, kind, key, _, n_elements, *view = reference
    dtype = _STORAGE_TYPES.get(kind) if isinstance(kind, Global) else None
    if dtype is None:
        shown = kind.name if isinstance(kind, Global) else type(kind).__name__
        raise NotATensor(f"has a storage of the type {shown}; known are {' '.join(STORAGES)}")
    if not isinstance(key, str) or not _natural(n_elements) or view not in ([], [None]):
        raise NotATensor("has a storage without a usable key or size")
    return Storage(key, dtype, n_elements)


def tensor_of(arguments: tuple[Any, ...]) -> PickledTensor:
    """Return the tensor that `_rebuild_tensor_v2` would make. Raises NotATensor.

    `arguments` are (storage, offset, shape, strides, requires_grad, hooks[, metadata]).
    """
    if not (6 <= len(arguments) <= 7 and isinstance(arguments[0], Storage)):
        raise NotATensor("has a tensor without a storage")
    storage, offset, shape, strides = arguments[:4]
    if not (_natural(offset) and _naturals(shape) and _naturals(strides)) or len(shape) != len(strides):
        raise NotATensor("has a tensor whose offset, shape or strides aren't whole numbers from 0 on")
    n_elements = 1
    for size in shape:
        n_elements *= size
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if n_elements and last >= storage.n_elements:
        raise NotATensor(
            f"has a tensor {list(shape)} that ends at element {last + 1:,} of a storage of "
            f"{storage.n_elements:,}"
        )
    if n_elements > max(storage.n_elements, SMALL_ELEMENTS) or n_elements > MAX_ELEMENTS:
        raise NotATensor(
            f"has a tensor {list(shape)} of {n_elements:,} elements in a storage of {storage.n_elements:,}"
        )
    return PickledTensor(storage, offset, shape, strides)


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _naturals(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= MAX_AXES and all(map(_natural, value))
