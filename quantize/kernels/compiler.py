"""The compiler of the kernels: numba on a thread, beside a pass that begins with ggml's encoders.

The first time takes seconds; what was compiled is kept in a folder for the next pass. Without numba, or where
a sample isn't encoded to ggml's bytes (another processor's arithmetic), ggml goes on encoding.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from pathlib import Path
from typing import Final

from models.llamacpp.quantization.quantizer import quantize_rows
from quantize.kernels.feedback import Feedback, compile_feedback
from quantize.kernels.k_quants import Bytes, Kernels, Rows, agree

logger = logging.getLogger("corral.quantize")

WORTH_ELEMENTS: Final = 50_000_000
"""Compiling, or loading what was compiled, pays from this many numbers to encode."""

MEMORY_BYTES: Final = 192 * 2**20
"""The compiler and the kernels take at most this many bytes: 150 MiB measured."""


class KernelCompiler:
    """The kernels of one job, once they are compiled. Whoever runs a job makes one and passes it down.

    Nobody waits for them unless `wait` is called.
    """

    def __init__(self, cache_dir: Path) -> None:
        """Compile nothing yet. `cache_dir`: the folder that keeps what numba has compiled."""
        self._cache_dir = cache_dir
        self._kernels: Kernels | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Compile once, on a thread of its own. The process doesn't end before that has."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="compile")
                self._thread.start()

    def quantize_rows(self, ggml_type: int, rows: Rows, out: Bytes, imatrix: Rows | None = None) -> int:
        """Encode as `models.llamacpp.quantization.quantizer.quantize_rows` does: by the kernels where they
        are ready for the type, by ggml elsewhere.
        """
        kernels = self._kernels
        if kernels is not None and kernels.takes(ggml_type):
            return kernels.quantize_rows(ggml_type, rows, out, imatrix)
        return quantize_rows(ggml_type, rows, out, imatrix)

    def wait(self) -> Kernels | None:
        """Return the kernels when they are compiled; None if they can't be had."""
        self.start()
        assert self._thread is not None
        self._thread.join()
        return self._kernels

    def feedback(self) -> Feedback:
        """Return the kernels of calibrated rounding. Raises QuantizationError without numba."""
        return compile_feedback(self._cache_dir)

    def _run(self) -> None:
        try:
            made = compile_kernels(self._cache_dir)
            if agree(made):
                self._kernels = made
            else:
                logger.info("compiled encoders differ from ggml's on this machine; ggml encodes everything")
        except Exception as error:  # noqa: BLE001  # of a compiler, or of files that it kept
            logger.info("no compiled encoders (%s: %s); ggml encodes everything", type(error).__name__, error)


def compile_kernels(cache_dir: Path) -> Kernels:
    """Return kernels that are compiled at their first call, or loaded from `cache_dir`.

    numba has one cache folder per process: that of the last call. Raises ImportError without numba.
    """
    import numba

    numba.config.CACHE_DIR = str(cache_dir)  # type: ignore[attr-defined]  # set by numba itself
    return Kernels(partial(numba.njit, nogil=True, cache=True, error_model="numpy"))
