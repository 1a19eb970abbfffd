"""The kernels, compiled with numba beside a pass that begins with ggml's encoders.

The first time takes seconds; what was compiled is kept below CORRAL_HOME for the next pass. Without numba, or
where a sample isn't encoded to ggml's bytes (another processor's arithmetic), ggml goes on encoding.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import Final

from models.llamacpp.quantization.quantizer import quantize_rows
from models.paths import Paths
from quantize.kernels.k_quants import Bytes, Kernels, Rows, agree

logger = logging.getLogger("corral.quantize")

WORTH_ELEMENTS: Final = 50_000_000
"""Numbers to encode, from which compiling, or loading what was compiled, pays."""

MEMORY_BYTES: Final = 192 * 2**20
"""What the compiler and the kernels take: 150 MiB measured."""


class Preparation:
    """Kernels on their way. Nobody waits for them unless he asks to."""

    def __init__(self) -> None:
        self._kernels: Kernels | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Compile, on a thread of its own, once. The process doesn't end before that has."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="compile")
                self._thread.start()

    def quantize_rows(self, ggml_type: int, rows: Rows, out: Bytes, imatrix: Rows | None = None) -> int:
        """As `models.llamacpp.quantization.quantizer.quantize_rows`: by the kernels, where they are ready
        for the type.
        """
        kernels = self._kernels
        if kernels is not None and kernels.takes(ggml_type):
            return kernels.quantize_rows(ggml_type, rows, out, imatrix)
        return quantize_rows(ggml_type, rows, out, imatrix)

    def wait(self) -> Kernels | None:
        """The kernels; None if they can't be had."""
        self.start()
        assert self._thread is not None
        self._thread.join()
        return self._kernels

    def _run(self) -> None:
        try:
            made = compile_kernels()
            if agree(made):
                self._kernels = made
            else:
                logger.info("compiled encoders differ from ggml's on this machine; ggml encodes everything")
        except Exception as error:  # noqa: BLE001  # of a compiler, or of files that it kept
            logger.info("no compiled encoders (%s: %s); ggml encodes everything", type(error).__name__, error)


def compile_kernels() -> Kernels:
    """Compiled at their first call, or loaded. Raises ImportError without numba."""
    import numba

    numba.config.CACHE_DIR = str(Paths.from_environment().compiled_dir)  # type: ignore[attr-defined]
    return Kernels(partial(numba.njit, nogil=True, cache=True, error_model="numpy"))


preparation: Final = Preparation()
"""Of this process."""
