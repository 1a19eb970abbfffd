"""`MatmulObserver`: looks on while llama.cpp multiplies weights with activations (`cb_eval`).

The scheduler asks about each node of a graph; for those that are wanted it computes up to there and calls
again, when the node's inputs are still in memory. Only matrix multiplications of weights are looked at.
ggml's tensor is read as the pinned version lays it out; `check_layout` holds the layout against the library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.quantization.ggml_types import GGML_TYPES

Floats = npt.NDArray[np.float32]


class _ggml_tensor(ctypes.Structure):
    """The struct ggml_tensor of ggml.h."""


_ggml_tensor._fields_ = (
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_ggml_tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
    ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
)

_OBJECT_BYTES = 32  # GGML_OBJECT_SIZE, a part of ggml_tensor_overhead
_TensorPointer = ctypes.POINTER(_ggml_tensor)


@dataclass(frozen=True)
class Weight:
    """A weight of the model where it lies. `ne`: row length first; `address`: llama.cpp's tensor."""

    name: str
    ggml_type: int
    ne: tuple[int, ...]
    address: int


@dataclass(frozen=True)
class Activations:
    """The input of one multiplication. `rows` [n, n_per_row] f32: a copy.

    `matrix`: for each row which matrix of the weight it meets, an expert's number; all 0 for a weight of two
    dimensions. `n_matrices`: how many the weight has. `routed`: the rows were sent to experts. `source`:
    the same for weights that met the same rows in one graph, for no others in it, and without a meaning in
    another graph.
    """

    weight: Weight
    rows: Floats
    matrix: npt.NDArray[np.int32]
    n_matrices: int
    routed: bool
    source: tuple[int, ...]


OnActivations = Callable[[Activations], None]
Wanted = Callable[[str], bool]


class MatmulObserver:
    """An observer for `Context(observer=…)`, which calls `on_activations` for products with wanted weights.

    `wanted` is called once per weight's name. Multiplications of less than `min_rows` rows are left out. It
    runs on the decoding thread; what it raises is raised by `raise_error` afterwards. Behind the product with
    the weight `stop_after`, and behind what raised, the graph isn't computed where it can end: what comes out
    of that decode is worth nothing then, and later decodes are as ever.
    """

    def __init__(
        self,
        wanted: Wanted,
        on_activations: OnActivations,
        *,
        min_rows: int = 16,
        stop_after: str | None = None,
    ) -> None:
        self._wanted = wanted
        self._on_activations = on_activations
        self._min_rows = min_rows
        self._stop_after = stop_after
        self._can_end = graphs_can_end()
        self._known: dict[bytes, bool] = {}
        self._error: BaseException | None = None
        self._ops = weight_ops()
        self.weights: dict[str, Weight] = {}
        """Every wanted weight that was met in a graph, token embeddings too, by name."""
        self.callback: Any = library.load().ggml_backend_sched_eval_callback(self._call)
        """C calls it as long as the context lives."""

    def raise_error(self) -> None:
        """Raise what looking on has raised since the last call."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _call(self, pointer: int, ask: bool, _user_data: Any) -> bool:
        try:
            if self._error is not None:  # asked for, the next node of a later graph ends that one, too
                return ask and self._can_end
            node = _ggml_tensor.from_address(pointer)
            if ask:
                return self._is_wanted(node)
            is_last = self._observe(node) == self._stop_after
        except BaseException as error:  # noqa: BLE001  # nothing may unwind through C
            self._error = error
            is_last = True
        return not (is_last and self._can_end)

    def _is_wanted(self, node: _ggml_tensor) -> bool:
        if node.op not in self._ops:
            return False
        weight = node.src[0].contents
        wanted = self._known.get(weight.name)
        if wanted is None:
            wanted = self._known[weight.name] = self._wanted(_plain_name(weight.name))
            if wanted:
                self._note(weight)
        rows = node.src[1].contents
        if node.op == self._ops[0]:
            return wanted and rows.ne[1] >= self._min_rows and rows.type == GGML_TYPES["F32"]
        # Where no token of a micro-batch has output, nothing is left of it in the last layer.
        return wanted and node.op == self._ops[1] and node.src[2].contents.ne[1] > 0

    def _note(self, weight: _ggml_tensor) -> Weight:
        name = _plain_name(weight.name)
        known = Weight(name, weight.type, tuple(weight.ne), ctypes.addressof(weight))
        return self.weights.setdefault(name, known)

    def _observe(self, node: _ggml_tensor) -> str:
        """Hand over the product's input; return its weight's name."""
        weight, rows = node.src[0].contents, node.src[1].contents
        known = self._note(weight)
        values, source = _values(rows), (_root(rows), rows.ne[0])
        if node.op == self._ops[1]:
            ids = node.src[2].contents
            self._on_activations(_routed(known, values, _ids(ids), (*source, ctypes.addressof(ids))))
        else:
            self._on_activations(_plain(known, values, source))
        return known.name


def observe(params: Any, observer: MatmulObserver | None) -> None:
    """Put the callback into the llama_context_params."""
    if observer is not None:
        params.cb_eval = observer.callback


def _plain(weight: Weight, values: Floats, source: tuple[int, ...]) -> Activations:
    """Return the rows of `values` [i3, i2, row, column]: matrix i2 of a weight meets slice i2."""
    n3, n2, n_rows, n_per_row = values.shape
    of_3, of_2 = weight.ne[3], weight.ne[2]
    matrix = (np.arange(n3)[:, None] % of_3) * of_2 + np.arange(n2)[None, :] % of_2
    per_row = np.repeat(matrix.reshape(-1).astype(np.int32), n_rows)
    return Activations(
        weight, values.reshape(-1, n_per_row), per_row, of_2 * of_3, routed=False, source=source
    )


def _routed(
    weight: Weight, values: Floats, ids: npt.NDArray[np.int32], source: tuple[int, ...]
) -> Activations:
    """Return the rows of `values` [1, token, slot or 1, column]; `ids` [token, slot] are its experts."""
    slots = np.arange(ids.shape[1]) % values.shape[2]
    rows = values[0][:, slots, :]
    flat = rows.reshape(-1, values.shape[-1])
    return Activations(weight, flat, ids.reshape(-1), weight.ne[2], routed=True, source=source)


def _root(tensor: _ggml_tensor) -> int:
    """Return the address of llama.cpp's tensor that `tensor` is another shape of, or its own.

    Tensors of one graph are objects of their own as long as it lives, also where they lie in the same memory.
    """
    reshape = _numbers_of_operations()[b"RESHAPE"]
    while tensor.op == reshape and tensor.src[0]:
        tensor = tensor.src[0].contents
    return ctypes.addressof(tensor)


def _values(tensor: _ggml_tensor) -> Floats:
    """Return the tensor's numbers as an array of their own, [ne3, ne2, ne1, ne0]."""
    shape, strides = tuple(tensor.ne)[::-1], tuple(tensor.nb)[::-1]
    raw = _bytes(tensor, shape, strides)
    return np.ndarray(shape, np.float32, raw, strides=strides).copy(order="C")


def _ids(tensor: _ggml_tensor) -> npt.NDArray[np.int32]:
    shape, strides = (tensor.ne[1], tensor.ne[0]), (tensor.nb[1], tensor.nb[0])
    raw = _bytes(tensor, shape, strides)
    return np.ndarray(shape, np.int32, raw, strides=strides).copy(order="C")


def _bytes(tensor: _ggml_tensor, shape: Sequence[int], strides: Sequence[int]) -> Any:
    """Return the memory of a tensor of four-byte elements: the host's own, or a copy of a device's."""
    n_bytes = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 4
    if library.bind("ggml_backend_buffer_is_host", ctypes.c_bool, ctypes.c_void_p)(tensor.buffer):
        return (ctypes.c_uint8 * n_bytes).from_address(tensor.data)
    copy = np.empty(n_bytes, np.uint8)
    get = library.bind(
        "ggml_backend_tensor_get",
        None,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
    )
    get(ctypes.addressof(tensor), copy.ctypes.data, 0, n_bytes)
    return copy


def _plain_name(raw: bytes) -> str:
    """Return a tensor's own name: a copy on a device is called `CUDA0#blk.0.attn_k.weight#0`."""
    name = raw.decode("utf-8", "replace")
    parts = name.split("#")
    return parts[1] if len(parts) > 1 else name


@cache
def weight_ops() -> tuple[int, int, int]:
    """Return the numbers of GGML_OP_MUL_MAT, _MUL_MAT_ID and _GET_ROWS.

    Raises LlamaCppError: another layout.
    """
    check_layout()
    numbers = _numbers_of_operations()
    try:
        return numbers[b"MUL_MAT"], numbers[b"MUL_MAT_ID"], numbers[b"GET_ROWS"]
    except KeyError as error:
        raise LlamaCppError(f"this build of llama.cpp has no operation {error}; run `make setup`") from error


@cache
def _numbers_of_operations() -> dict[bytes, int]:
    name = library.bind("ggml_op_name", ctypes.c_char_p, ctypes.c_int)
    return {name(op): op for op in range(64)}


@cache
def graphs_can_end() -> bool:
    """True if a graph can be ended early: on the CPU alone it is computed in one piece.

    With another device it comes in several, and llama.cpp goes on with the next, which may read numbers of
    experts or of rows from what was never computed, and abort.
    """
    return bool(library.bind("ggml_backend_dev_count", ctypes.c_size_t)() == 1)


def check_layout() -> None:
    """Raise LlamaCppError if ggml's tensor isn't as large as it is described here."""
    overhead = library.bind("ggml_tensor_overhead", ctypes.c_size_t)()
    if overhead != ctypes.sizeof(_ggml_tensor) + _OBJECT_BYTES:
        raise LlamaCppError(
            f"ggml's tensor takes {overhead - _OBJECT_BYTES} bytes here and "
            f"{ctypes.sizeof(_ggml_tensor)} in the version Corral needs; run `make setup`"
        )


def write_weight(weight: Weight, data: npt.NDArray[np.uint8]) -> None:
    """Replace a loaded weight's bytes (all of them, of its own type), on whatever device it lies.

    The model must not be mapped from its file, and no decode may run. Raises LlamaCppError: wrong size.
    """
    tensor = _ggml_tensor.from_address(weight.address)
    n_bytes = library.bind("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p)(weight.address)
    if data.nbytes != n_bytes or not data.flags.c_contiguous:
        raise LlamaCppError(f"{weight.name} has {n_bytes} bytes; {data.nbytes} were to replace them")
    put = library.bind(
        "ggml_backend_tensor_set",
        None,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
    )
    put(ctypes.addressof(tensor), data.ctypes.data, 0, n_bytes)


def read_weight(weight: Weight) -> npt.NDArray[np.uint8]:
    """Return a copy of a loaded weight's bytes."""
    n_bytes = library.bind("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p)(weight.address)
    copy = np.empty(int(n_bytes), np.uint8)
    get = library.bind(
        "ggml_backend_tensor_get",
        None,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
    )
    get(weight.address, copy.ctypes.data, 0, n_bytes)
    return copy
