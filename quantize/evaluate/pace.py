"""The pace of this machine at the products of a 16-bit model in llama.cpp, timed on a small one."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.llamacpp.model import Model
from models.store.atomic_write import disk_errors
from quantize.evaluate.divergence import Divergences, log_softmax
from quantize.evaluate.windows import DEFAULT_N_CTX, WindowRunner, Windows

_WIDEST: Final = (1024, 2816)
"""The small model's rows, and those within its layers, have so many numbers at most: wider ones take as long
for each, and longer to write.
"""
_LEAST_OPERATIONS: Final = 2**22
"""It multiplies at least so often for a token, by as many layers: a graph has its own price, too."""
_RUNS: Final = 3
"""The quickest of so many counts: what else the machine does meanwhile is no part of it."""
_LOGITS: Final = 2**20
"""So many logits are compared."""


def small_model(width: int, inner_width: int) -> TinyModel:
    """Return the small model that stands for one whose rows, and those within layers, are so wide. Pure."""
    n_embd, n_ff = (
        max(256, min(wanted, most) // 256 * 256)
        for wanted, most in zip((width, inner_width), _WIDEST, strict=True)
    )
    n_layer = -(-_LEAST_OPERATIONS // operations_of(TinyModel(n_layer=1, n_embd=n_embd, n_ff=n_ff)))
    n_head = n_embd // 64
    return TinyModel(n_layer=n_layer, n_embd=n_embd, n_ff=n_ff, n_head=n_head, n_head_kv=n_head, float16=True)


def operations_of(tiny: TinyModel) -> int:
    """Return the multiplications of its layers' weights for one token; each head has its keys and values."""
    return tiny.n_layer * tiny.n_embd * (4 * tiny.n_embd + 3 * tiny.n_ff)


def product_seconds(threads: int, width: int, inner_width: int) -> float:
    """Return the seconds of one multiplication of a token's row with a 16-bit weight, on so many threads.

    The rows are `width` wide, and `inner_width` within layers. Takes a second or two, and 80 MB. Raises
    DiskFull, StoreError for the place of temporary files; LlamaCppError.
    """
    tiny = small_model(width, inner_width)
    writing = disk_errors("write a small model", Path(tempfile.gettempdir()), "TMPDIR")
    with ExitStack() as stack:
        with writing:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="corral-"))
            path = write_tiny_gguf(Path(place, "small.gguf"), tiny)
        with Model.load(path, use_mmap=False, use_extra_bufts=False) as model:
            return _seconds_of_window(model, threads) / (DEFAULT_N_CTX * operations_of(tiny))


def _seconds_of_window(model: Model, threads: int) -> float:
    tokens = np.arange(DEFAULT_N_CTX, dtype=np.int32) % model.vocab.n_tokens
    runner = WindowRunner(model, Windows(tokens[None], None), threads=threads)
    seconds = []
    try:
        for _ in range(1 + _RUNS):  # the first one brings memory and threads
            began = time.perf_counter()
            runner.logits(range(1))
            seconds.append(time.perf_counter() - began)
    finally:
        runner.close()
    return min(seconds[1:])


def comparison_seconds(n_vocab: int) -> float:
    """Return the seconds in which predictions are compared, for each logit. One thread."""
    n_rows = max(1, _LOGITS // n_vocab)
    logits = np.random.Generator(np.random.PCG64(0)).standard_normal((n_rows, n_vocab), np.float32)
    base, seconds = log_softmax(logits), []
    for _ in range(_RUNS):
        began = time.perf_counter()
        Divergences().add(base, log_softmax(logits))
        seconds.append(time.perf_counter() - began)
    return min(seconds) / logits.size
