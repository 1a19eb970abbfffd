"""Checkpoints with tensors of any dtype, in any container."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quantize.checkpoint.safetensors import DTYPES

NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_any_safetensors(path: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    header: dict[str, Any] = {}
    offset = 0
    for name, array in tensors.items():
        place = [offset, offset + array.nbytes]
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": place}
        offset += array.nbytes
    text = json.dumps(header).encode()
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
