"""`KernelLibrary`: the C interface of `libcorral_kernels.so`, our matrix kernels beside llama.cpp.

Definitions only; what is checked before it is used, and when, is in `server.kernels`. The library calls
functions of ggml's CPU backend, so llama.cpp must be loaded first.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp import kernel_attention, library
from models.llamacpp.kernel_attention import Attention
from models.llamacpp.library_file import check_library_file
from models.machine.kernel_file import FILE_NAME


class Place(IntEnum):
    """A place for the weights of a product that is tried."""

    PANELS = 0
    PLAIN = 1
    EXTRA = 2
    """The first of ggml's own extra buffer types that takes them."""


class TimedProduct(NamedTuple):
    """A product [columns, rows], and the processor seconds that one like it takes."""

    product: npt.NDArray[np.float32]
    seconds: float


class _Layout(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_size_t))


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "corral_bindings_version": (ctypes.c_char_p, []),
    "corral_ggml_version": (ctypes.c_char_p, []),
    "corral_layouts": (ctypes.POINTER(_Layout), []),
    "corral_set_name": (ctypes.c_char_p, [ctypes.c_int]),
    "corral_choose": (ctypes.c_char_p, [ctypes.c_char_p]),
    "corral_format_type": (ctypes.c_int, [ctypes.c_int]),
    "corral_has_kernels": (ctypes.c_bool, [ctypes.c_int]),
    "corral_use": (None, [ctypes.c_int, ctypes.c_bool]),
    "corral_insert": (None, []),
    "corral_matrices": (ctypes.c_int64, []),
    "corral_round_trip": (
        ctypes.c_bool,
        [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p],
    ),
    "corral_multiply": (
        ctypes.c_double,
        [*[ctypes.c_int] * 2, *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * 3, *[ctypes.c_int] * 3],
    ),
    "corral_multiply_experts": (
        ctypes.c_double,
        [*[ctypes.c_int] * 2, *[ctypes.c_int64] * 6, *[ctypes.c_void_p] * 4, *[ctypes.c_int] * 2],
    ),
    "corral_has_gelu": (ctypes.c_bool, []),
    "corral_use_gelu": (None, [ctypes.c_bool]),
    "corral_gelu": (
        ctypes.c_double,
        [
            *[ctypes.c_int64] * 2,
            *[ctypes.c_void_p] * 2,
            *[ctypes.c_bool] * 2,
            *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
        ],
    ),
    **kernel_attention.SIGNATURES,
}


class KernelLibrary:
    """The opened library; there is one in a process. It is never unloaded: weights may lie in its panels."""

    def __init__(self, path: Path) -> None:
        """Open the library. Raises LlamaCppError: it isn't there, isn't whole, or is made for others."""
        library.load()
        if not path.is_file():
            raise LlamaCppError(f"{path} isn't there")
        check_library_file(path)
        _share_cpu_backend()
        try:
            self._handle = ctypes.CDLL(os.fspath(path.resolve()), mode=os.RTLD_NOW | os.RTLD_LOCAL)
            for name, (restype, argtypes) in _SIGNATURES.items():
                function = getattr(self._handle, name)
                function.restype, function.argtypes = restype, argtypes
        except (OSError, AttributeError) as error:
            raise LlamaCppError(f"{path} doesn't fit this build of llama.cpp: {error}") from None
        self.path = path

    @property
    def bindings_version(self) -> str:
        """The llama-cpp-python that it was compiled for."""
        return str(self._handle.corral_bindings_version().decode())

    @property
    def ggml_version(self) -> str:
        """The ggml that it was compiled for."""
        return str(self._handle.corral_ggml_version().decode())

    def layouts(self) -> dict[str, int]:
        """Return the sizes, offsets and numbers of ggml that it was compiled with."""
        found = {}
        for entry in self._handle.corral_layouts():
            if entry.name is None:
                break
            found[entry.name.decode()] = entry.value
        return found

    def sets(self) -> tuple[str, ...]:
        """Return the instruction sets that it has kernels for, the best first."""
        return tuple(name.decode() for name in _until(None, self._handle.corral_set_name))

    def formats(self) -> tuple[int, ...]:
        """Return ggml's numbers of the types that have panels."""
        return tuple(_until(-1, self._handle.corral_format_type))

    def choose(self, name: str | None = None) -> str | None:
        """Choose the set by name, or the best that the processor has; return its name.

        None if it isn't there, and then none is chosen. Not while weights lie in panels, which are multiplied
        by the set that is chosen.
        """
        chosen = self._handle.corral_choose(None if name is None else name.encode())
        return None if chosen is None else str(chosen.decode())

    def has_kernels(self, ggml_type: int) -> bool:
        """Return True if the chosen set multiplies this type."""
        return bool(self._handle.corral_has_kernels(ggml_type))

    def use(self, ggml_type: int, *, is_used: bool) -> None:
        """Take or leave the weights of a type that are loaded from now on."""
        self._handle.corral_use(ggml_type, is_used)

    def insert(self) -> None:
        """Offer the panels to ggml before its own places.

        llama.cpp asks once, when it first loads a model.
        """
        self._handle.corral_insert()

    @property
    def n_matrices(self) -> int:
        """The matrices that were written as panels in this process."""
        return int(self._handle.corral_matrices())

    def round_trip(self, ggml_type: int, weights: npt.NDArray[np.uint8], k: int) -> npt.NDArray[np.uint8]:
        """Return the weights (one row of ggml's blocks per row) after going into panels and back."""
        back = np.empty_like(weights)
        done = self._handle.corral_round_trip(
            ggml_type, k, len(weights), weights.ctypes.data, back.ctypes.data
        )
        if not done:
            raise LlamaCppError(f"type {ggml_type} has no panels for rows of {k}")
        return back

    def multiply(
        self,
        place: Place,
        ggml_type: int,
        weights: npt.NDArray[np.uint8],
        x: npt.NDArray[np.float32],
        n_threads: int = 1,
    ) -> npt.NDArray[np.float32] | None:
        """Return the product [columns, rows] by ggml's CPU backend.

        None if the place doesn't take the weights. `weights` has a row of ggml's blocks per row, `x` a
        column per row.
        """
        timed = self.timed(place, ggml_type, weights, x, n_threads=n_threads)
        return None if timed is None else timed.product

    def timed(
        self,
        place: Place,
        ggml_type: int,
        weights: npt.NDArray[np.uint8],
        x: npt.NDArray[np.float32],
        *,
        n_threads: int = 1,
        n_repeats: int = 0,
        n_copies: int = 1,
    ) -> TimedProduct | None:
        """Return the product, and the processor seconds of one, the mean of `n_repeats` after a first one.

        None if the place doesn't take the weights. So many copies of them are multiplied in turn: more than
        fit the caches come from memory.
        """
        n, k = x.shape
        weights, x = np.ascontiguousarray(weights), np.ascontiguousarray(x)
        out = np.full((n, len(weights)), np.nan, np.float32)
        pointers = (weights.ctypes.data, x.ctypes.data, out.ctypes.data)
        seconds = self._handle.corral_multiply(
            place, ggml_type, k, len(weights), n, *pointers, n_threads, n_copies, n_repeats
        )
        return None if seconds < 0 else TimedProduct(out, float(seconds))

    def multiply_experts(
        self,
        place: Place,
        ggml_type: int,
        weights: npt.NDArray[np.uint8],
        x: npt.NDArray[np.float32],
        ids: npt.NDArray[np.int32],
    ) -> npt.NDArray[np.float32] | None:
        """Return a mixture's product [tokens, experts of a token, rows], as `multiply` does.

        `weights`: [experts, rows, bytes], `x`: [tokens, 1 or experts of a token, k], `ids`: the experts of
        each token.
        """
        n, n_inputs, k = x.shape
        n_experts, rows, _ = weights.shape
        weights, x, ids = map(np.ascontiguousarray, (weights, x, ids))
        n_used = ids.shape[1]
        out = np.full((n, n_used, rows), np.nan, np.float32)
        seconds = self._handle.corral_multiply_experts(
            *(place, ggml_type, k, rows, n_experts, n_used, n, n_inputs),
            *(weights.ctypes.data, x.ctypes.data, ids.ctypes.data, out.ctypes.data, 1, 0),
        )
        return None if seconds < 0 else out

    def has_attention(self) -> bool:
        """Return True if this CPU has kernels for attention."""
        return bool(self._handle.corral_has_attention())

    def use_attention(self, *, is_used: bool) -> None:
        """Take attention from ggml, or leave it. At first it is left; not while a model computes."""
        self._handle.corral_use_attention(is_used)

    def attend(
        self, attention: Attention, *, is_ours: bool, n_threads: int = 1
    ) -> npt.NDArray[np.float32] | None:
        """Return the attention by the kernels or by ggml's own; None if ggml couldn't compute it.

        Attention is left to ggml afterwards.
        """
        out = np.full(attention.out_shape, np.nan, np.float32)
        self.use_attention(is_used=is_ours)
        native = attention.native()
        seconds = self._handle.corral_attend(ctypes.byref(native), out.ctypes.data, n_threads, 0)
        self.use_attention(is_used=False)
        return None if seconds < 0 else out

    def has_gelu(self) -> bool:
        """Return True if this CPU has kernels for GELU."""
        return bool(self._handle.corral_has_gelu())

    def use_gelu(self, *, is_used: bool) -> None:
        """Take GELU from ggml, or leave it. At first it is left; not while a model computes."""
        self._handle.corral_use_gelu(is_used)

    def gelu(
        self,
        x: npt.NDArray[np.float32],
        gate: npt.NDArray[np.float32] | None = None,
        *,
        is_ours: bool,
        halves: Literal["none", "gate last", "gate first"] = "none",
        n_threads: int = 1,
    ) -> npt.NDArray[np.float32] | None:
        """Return GELU of `x` [rows, n], times `gate`, by the kernels or by ggml's own.

        With halves a row of `x` has its gate as well, and there is no other. None: ggml couldn't do it.
        GELU is left to ggml afterwards.
        """
        rows, width = x.shape
        n = width if halves == "none" else width // 2
        x = np.ascontiguousarray(x)
        gate = None if gate is None else np.ascontiguousarray(gate)
        out = np.full((rows, n), np.nan, np.float32)
        pointers = (x.ctypes.data, None if gate is None else gate.ctypes.data)
        forms = (halves != "none", halves == "gate first")
        self.use_gelu(is_used=is_ours)
        seconds = self._handle.corral_gelu(n, rows, *pointers, *forms, out.ctypes.data, n_threads, 0)
        self.use_gelu(is_used=False)
        return None if seconds < 0 else out


def _until(end: Any, entry: Callable[[int], Any]) -> Iterator[Any]:
    """Yield the entries at 0, 1, 2 … before `end`."""
    return itertools.takewhile(lambda value: value != end, map(entry, itertools.count()))


def default_path() -> Path:
    """Return the path beside the libraries of llama.cpp that are loaded."""
    return Path(library.library_path()).parent / FILE_NAME


def ggml_version() -> str:
    """Return the version of the ggml that is loaded."""
    return str(library.bind("ggml_version", ctypes.c_char_p)().decode())


def tensor_overhead() -> int:
    """Return the bytes of a tensor's header with its object in the ggml that is loaded."""
    return int(library.bind("ggml_tensor_overhead", ctypes.c_size_t)())


def _share_cpu_backend() -> None:
    """Let the library see the functions of ggml's CPU backend, wherever that came from.

    Builds with one backend per generation of processors (GGML_BACKEND_DL) load the best with its symbols to
    itself.
    """
    folder = Path(library.library_path()).parent
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return  # no Linux; what isn't found says so when the library is opened
    loaded = {line.split(maxsplit=5)[-1] for line in maps.splitlines() if "/libggml-cpu" in line}
    for path in sorted(loaded):
        if Path(path).parent == folder.resolve():
            ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_GLOBAL | os.RTLD_NOW)
