"""llama.cpp's quantization: float rows encoded as ggml blocks.

`type_rules.type_plan` and `quantize_rows` together write the same bytes as llama.cpp's own
`llama_model_quantize` (`quantize_file` here, the oracle of the tests), without a file in between. No object
outlives a call.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.errors import reason
from models.llamacpp.quantization.ggml_types import (
    ALL_FTYPES,
    FTYPES,
    GGML_TYPES,
    require_type,
    row_size,
    type_name,
)
from models.llamacpp.quantization.type_rules import native_overrides, type_rules
from models.quantization_types import TENSOR_TYPES


def check_symbols() -> None:
    """Raise LlamaCppError if this build of llama.cpp lacks a function that quantizing needs."""
    type_rules()
    requires_imatrix(GGML_TYPES["Q4_K"])
    _encoder()


def requires_imatrix(ggml_type: int) -> bool:
    """True if the type can't be encoded without an importance matrix."""
    return bool(
        library.bind("ggml_quantize_requires_imatrix", ctypes.c_bool, ctypes.c_int)(require_type(ggml_type))
    )


@dataclass(frozen=True)
class _Encoder:
    init: Any
    chunk: Any
    validate: Any


@cache
def _encoder() -> _Encoder:
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    i64 = ctypes.c_int64
    return _Encoder(
        init=library.bind("ggml_quantize_init", None, ctypes.c_int),
        chunk=library.bind(
            "ggml_quantize_chunk", size, ctypes.c_int, pointer, pointer, i64, i64, i64, pointer
        ),
        validate=library.bind("ggml_validate_row_data", ctypes.c_bool, ctypes.c_int, pointer, size),
    )


_ENCODABLE = frozenset(number for number, row in TENSOR_TYPES.items() if row.encoder is not None)
_initialised: set[int] = set()
_initialise_lock = threading.Lock()


def quantize_rows(
    ggml_type: int,
    rows: npt.NDArray[np.float32],
    out: npt.NDArray[np.uint8],
    imatrix: npt.NDArray[np.float32] | None = None,
) -> int:
    """Encode `rows` [n, n_per_row] f32 (C order) into the start of `out`; return the bytes written.

    `out`: writable, contiguous, at least n · row_size(ggml_type, n_per_row) bytes. `imatrix`
    [n_per_row] f32: the weight of each column. Rows are independent, so a tensor may be encoded in
    pieces, by several threads at once: the GIL is released. Raises LlamaCppError: wrong shapes,
    values that aren't finite (or too large for F16), or an importance matrix that is missing.
    """
    n_bytes = check_rows(ggml_type, rows, out, imatrix)
    n_rows, n_per_row = rows.shape
    weights = None if imatrix is None else int(imatrix.ctypes.data)
    if n_bytes:
        encoder = _encoder()
        _initialise(encoder, ggml_type)
        encoder.chunk(ggml_type, rows.ctypes.data, out.ctypes.data, 0, n_rows, n_per_row, weights)
        check_written(ggml_type, rows, out, n_bytes)
    return n_bytes


def check_rows(
    ggml_type: int,
    rows: npt.NDArray[np.float32],
    out: npt.NDArray[np.uint8],
    imatrix: npt.NDArray[np.float32] | None,
) -> int:
    """Return the bytes that encoding `rows` into `out` will write.

    Raises LlamaCppError as `quantize_rows`.
    """
    if ggml_type not in _ENCODABLE:
        raise LlamaCppError(
            f"ggml type {ggml_type} can't be written from floats; choose one of {', '.join(FTYPES)}"
        )
    if rows.ndim != 2 or rows.dtype != np.float32 or not rows.flags.c_contiguous:
        raise LlamaCppError(f"rows must be float32 [n, n_per_row] in C order, not {rows.dtype} {rows.shape}")
    n_bytes = len(rows) * row_size(ggml_type, rows.shape[1])
    if not (out.flags.c_contiguous and out.flags.writeable) or out.nbytes < n_bytes:
        raise LlamaCppError(
            f"the output must be writable, contiguous and at least {n_bytes} bytes, not {out.nbytes}"
        )
    _check_imatrix(ggml_type, rows.shape[1], imatrix)
    if n_bytes:
        _check_finite(ggml_type, rows)
    return n_bytes


def check_written(
    ggml_type: int, rows: npt.NDArray[np.float32], out: npt.NDArray[np.uint8], n_bytes: int
) -> None:
    """Raise LlamaCppError if the first `n_bytes` of `out` aren't what a type can hold of `rows`."""
    if not _encoder().validate(ggml_type, out.ctypes.data, n_bytes):
        raise LlamaCppError(
            f"a value is too large for {type_name(ggml_type)} (largest magnitude here "
            f"{float(np.abs(rows).max()):.4g}); choose BF16 or F32 for this model"
        )


def _check_imatrix(ggml_type: int, n_per_row: int, imatrix: npt.NDArray[np.float32] | None) -> None:
    if imatrix is None:
        if requires_imatrix(ggml_type):
            raise LlamaCppError(
                f"{type_name(ggml_type)} can't be encoded without an importance matrix; "
                "give one with --imatrix or choose a larger type"
            )
        return
    if imatrix.dtype != np.float32 or not imatrix.flags.c_contiguous or imatrix.shape != (n_per_row,):
        raise LlamaCppError(
            f"the importance matrix must be float32 [{n_per_row}], not {imatrix.dtype} {list(imatrix.shape)}"
        )
    if not np.isfinite(imatrix).all():
        raise LlamaCppError("the importance matrix holds values that aren't finite; compute it again")


def _check_finite(ggml_type: int, rows: npt.NDArray[np.float32]) -> None:
    # Two passes and no temporary; NaN passes through both. ggml's block encoders are undefined on it.
    if not (np.isfinite(rows.min()) and np.isfinite(rows.max())):
        bad = int(np.count_nonzero(~np.isfinite(rows)))
        raise LlamaCppError(
            f"{bad} of {rows.size} values are NaN or infinite and can't be {type_name(ggml_type)}; "
            "the checkpoint is damaged or was saved in too small a type"
        )


def _initialise(encoder: _Encoder, ggml_type: int) -> None:
    """Build the type's tables once, before threads share them."""
    if ggml_type not in _initialised:
        with _initialise_lock:
            encoder.init(ggml_type)
            _initialised.add(ggml_type)


def quantize_file(
    source: Path,
    destination: Path,
    ftype: int,
    n_threads: int | None = None,
    *,
    requantize: bool = False,
    imatrix: Mapping[str, npt.NDArray[np.float32]] | None = None,
    overrides: Mapping[str, int] | None = None,
) -> None:
    """Quantize file to file as llama.cpp does, the tests' oracle. Blocks; writes `destination` in place.

    `requantize`: also tensors that are quantized already. `imatrix`: each tensor's column weights, all
    experts' after each other; `overrides`: the types of tensors, by name. Raises LlamaCppError with
    llama.cpp's reason.
    """
    if ftype not in ALL_FTYPES.values():
        raise LlamaCppError(f"{ftype} is no file type to quantize to; known: {', '.join(ALL_FTYPES)}")
    native = library.load()
    params = native.llama_model_quantize_default_params()
    params.ftype = ftype
    params.nthread = n_threads or 0
    params.allow_requantize = requantize
    kept = [native_overrides(overrides), _native_imatrix(imatrix)]
    params.tt_overrides, params.imatrix = kept
    with library.capture_errors() as lines:
        status = native.llama_model_quantize(
            os.fsencode(source), os.fsencode(destination), ctypes.byref(params)
        )
    if status:
        why = reason(lines) or f"status {status}"
        raise LlamaCppError(f"llama.cpp can't quantize {source}: {why}")


def _native_imatrix(imatrix: Mapping[str, npt.NDArray[np.float32]] | None) -> Any:
    """Return llama.cpp's array of llama_model_imatrix_data, which borrows the numbers; None for none."""
    if imatrix is None:
        return None
    kind = library.load().llama_model_imatrix_data
    entries = (kind * (len(imatrix) + 1))()
    for entry, (name, values) in zip(entries, imatrix.items(), strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return entries
