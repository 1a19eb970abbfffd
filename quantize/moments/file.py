"""`MomentFile`: a file of second moments, read one input at a time. `layout` has its form."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from models.closing import Closing
from models.errors import InvalidGGUF, QuantizationError
from models.gguf.reader import GGUFArray, GGUFFile, GGUFTensor, read_gguf_file
from quantize.imatrix.matrix import Importance, ImportanceMatrix
from quantize.moments.layout import (
    CORRELATION,
    COUNTS,
    FIRST,
    HELD_OUT,
    KEY,
    KIND,
    TYPES,
    VARIANCE,
    VERSION,
    MomentInfo,
)
from quantize.moments.moments import Floats, Moments

_DTYPES: Final[dict[str, npt.DTypeLike]] = {"I32": "<i4", "F32": "<f4", "F16": "<f2"}
_MAKE_IT: Final = "make it with: corral moments"


def read_moments(path: Path) -> MomentFile:
    """Open a file of moments. Raises QuantizationError: no such file, cut short, or of another version."""
    try:
        file = read_gguf_file(path)
    except InvalidGGUF as error:
        raise QuantizationError(f"no second moments: {error.message}; {_MAKE_IT}") from error
    if file.metadata.get("general.type") != KIND:
        raise QuantizationError(f"{path} holds no second moments; {_MAKE_IT}")
    version = file.metadata.get(KEY + "version")
    if version != VERSION:
        raise QuantizationError(f"{path} has version {version}, and {VERSION} is read here; {_MAKE_IT}")
    return MomentFile(file)


class MomentFile(Closing):
    """An open file of moments. Any thread may read it; numbers are read when they are asked for."""

    def __init__(self, file: GGUFFile) -> None:
        """Check a file's structure and open it. Raises QuantizationError."""
        self._path = file.path
        self._tensors = {tensor.name: tensor for tensor in file.tensors}
        self.info = self._read_info(file)
        self.inputs: Mapping[str, str] = self._read_inputs(file)
        """By each weight's name, the name of its input."""
        self._matrices = {name: self._check(name) for name in set(self.inputs.values())}
        try:
            self._file: int | None = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise QuantizationError(f"{file.path} can't be read: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file; no read may be under way."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def n_matrices(self, weight: str) -> int:
        """Return how many matrices, such as experts, have moments of their own; 0 for an unknown weight."""
        name = self.inputs.get(weight)
        return 0 if name is None else self._matrices[name]

    def moments(self, weight: str, matrix: int = 0) -> Moments | None:
        """Return the moments of the input that a weight's matrix multiplies.

        None: an unknown weight or matrix, or no row came to it. Raises QuantizationError for numbers that no
        moments have.
        """
        name = self.inputs.get(weight)
        if name is None or not 0 <= matrix < self._matrices[name]:
            return None
        n_rows, n_first, n_held_out = self._counts(name, matrix)
        if n_rows == 0:
            return None
        variance = self._variance(name, matrix)
        squares = variance.astype(np.float64) * n_rows
        roots = np.sqrt(squares).astype(np.float32)
        total = self._correlations(name, matrix, len(variance))
        with np.errstate(over="ignore"):  # told below
            total *= roots[:, None]
            total *= roots[None, :]
            np.fill_diagonal(total, squares.astype(np.float32))
        if not np.isfinite(total).all():
            self._fail(f"the sums of {name} aren't finite")
        first = self._rows(name, FIRST, matrix, n_first, len(variance))
        held_out = self._rows(name, HELD_OUT, matrix, n_held_out, len(variance))
        return Moments(total, n_rows, first, held_out)

    def importance(self) -> ImportanceMatrix:
        """Return the diagonals of all weights, as an importance matrix of the summed rows has them."""
        shared = {}
        for name, n_matrices in self._matrices.items():
            counts = np.asarray([self._counts(name, i)[0] for i in range(n_matrices)], np.int64)
            means = np.stack([self._variance(name, i) for i in range(n_matrices)])
            shared[name] = Importance((means * counts[:, None]).astype(np.float32), counts)
        entries = {weight: shared[name] for weight, name in self.inputs.items()}
        chunks = self.info.chunks - self.info.held_out_chunks
        return ImportanceMatrix(entries, (self.info.label,), chunks, self.info.chunk_size, str(self._path))

    def _read_info(self, file: GGUFFile) -> MomentInfo:
        def text(key: str) -> str:
            value = file.metadata.get(KEY + key)
            return value if isinstance(value, str) else self._fail(f"it has no text {KEY}{key}")

        def number(key: str) -> int:
            value = file.metadata.get(KEY + key)
            if not isinstance(value, int) or file.types[KEY + key] != "u32":
                self._fail(f"it has no number {KEY}{key}")
            return value

        return MomentInfo(
            label=text("text"),
            text_sha256=text("text_sha256"),
            chunks=number("chunks"),
            held_out_chunks=number("held_out_chunks"),
            chunk_size=number("chunk_size"),
            model=text("model"),
            model_hash=text("model_hash"),
        )

    def _read_inputs(self, file: GGUFFile) -> dict[str, str]:
        lists = []
        for key in ("weights", "inputs"):
            value = file.metadata.get(KEY + key)
            if not isinstance(value, GGUFArray) or value.element_type != "str":
                self._fail(f"it has no list {KEY}{key}")
            lists.append([item.decode("utf-8", "replace") for item in value.strings()])
        weights, inputs = lists
        if not weights or len(weights) != len(inputs) or len(set(weights)) != len(weights):
            self._fail("its weights and their inputs don't match")
        return dict(zip(weights, inputs, strict=True))

    def _check(self, name: str) -> int:
        """Return the number of an input's matrices. Raises QuantizationError if its tensors don't match."""
        for suffix, kind in TYPES.items():
            tensor = self._tensors.get(name + suffix)
            if tensor is None and suffix in {COUNTS, VARIANCE, CORRELATION}:
                self._fail(f"{name}{suffix} is missing")
            if tensor is not None and tensor.type != kind:
                self._fail(f"{name}{suffix} is {tensor.type}, not {kind}")
        n_matrices, rest = divmod(self._tensors[name + COUNTS].n_elements, 3)
        n = self._tensors[name + VARIANCE].shape[0]
        expected = {COUNTS: 3, VARIANCE: n, CORRELATION: n * (n - 1) // 2}
        has_shapes = rest == 0 and all(
            self._tensors[name + suffix].n_elements == size * n_matrices
            and self._tensors[name + suffix].shape[0] == size
            for suffix, size in expected.items()
        )
        rows = [
            self._tensors[name + suffix] for suffix in (FIRST, HELD_OUT) if name + suffix in self._tensors
        ]
        if not has_shapes or any(
            tensor.shape[0] != n or tensor.n_elements % (n * n_matrices) for tensor in rows
        ):
            self._fail(f"the shapes of {name} don't match")
        return n_matrices

    def _counts(self, name: str, matrix: int) -> tuple[int, int, int]:
        n_rows, n_first, n_held_out = self._read(name + COUNTS, matrix).tolist()
        for suffix, count in ((FIRST, n_first), (HELD_OUT, n_held_out)):
            tensor = self._tensors.get(name + suffix)
            most = 0 if tensor is None else tensor.n_elements // tensor.shape[0] // self._matrices[name]
            if not 0 <= count <= most:
                self._fail(f"it claims {count} rows in {name}{suffix}, and {most} fit")
        if n_rows < 0:
            self._fail(f"it claims {n_rows} rows of {name}")
        return n_rows, n_first, n_held_out

    def _variance(self, name: str, matrix: int) -> Floats:
        values: Floats = self._read(name + VARIANCE, matrix).astype(np.float32)
        if not np.isfinite(values).all() or values.min() < 0:
            self._fail(f"{name} has mean squares that are negative or not finite")
        return values

    def _correlations(self, name: str, matrix: int, n: int) -> Floats:
        """Return the correlations [n, n], those below the diagonal and on it 0."""
        packed = self._read(name + CORRELATION, matrix)
        if not np.isfinite(packed).all() or np.abs(packed).max(initial=0) > 1:
            self._fail(f"{name} has correlations that are beyond 1 or not finite")
        square = np.zeros((n, n), np.float32)
        start = 0
        for i in range(n - 1):
            square[i, i + 1 :] = packed[start : start + n - 1 - i]
            start += n - 1 - i
        return square

    def _rows(self, name: str, suffix: str, matrix: int, count: int, n: int) -> Floats:
        if count == 0:
            return np.empty((0, n), np.float32)
        rows: Floats = self._read(name + suffix, matrix).reshape(-1, n)[:count].astype(np.float32)
        if not np.isfinite(rows).all():
            self._fail(f"the rows of {name}{suffix} aren't finite")
        return rows

    def _read(self, tensor_name: str, matrix: int) -> npt.NDArray[Any]:
        """Return one matrix's numbers of a tensor."""
        assert self._file is not None, f"{self._path} is closed"
        tensor: GGUFTensor = self._tensors[tensor_name]
        n_bytes = tensor.nbytes // self._matrices[tensor_name.rpartition(".")[0]]
        out = np.empty(n_bytes, np.uint8)
        view, at = out.data, tensor.offset + matrix * n_bytes
        while view:
            try:
                count = os.preadv(self._file, [view], at)
            except OSError as error:
                self._fail(f"{tensor_name} can't be read: {error.strerror or error}")
            if count == 0:
                self._fail(f"it ends inside {tensor_name}")
            view, at = view[count:], at + count
        return out.view(_DTYPES[tensor.type])

    def _fail(self, reason: str) -> NoReturn:
        raise QuantizationError(f"{self._path} holds no valid second moments: {reason}; {_MAKE_IT}")
