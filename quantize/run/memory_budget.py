"""The memory that a pass takes, known before it begins: the program's, and a block for every thread.

base       the interpreter, its libraries, the vocabulary, the plan
a thread   a block as it is read (and once more while its transform puts it in order),
           a piece of it in f32, and its bytes in every type
compiler   of our own encoders, where there is enough for them to do; always with a calibration
check      of a calibration: the 16-bit model, when the pass is over and its blocks and factors are gone
factors    of a calibration: those that are kept, and one that is made; a thread has a piece's state
a source   what it says it holds itself (`memory_bytes`: read ahead, adapters), and for each number of a block
           (`working_itemsize`: the models of a merge)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.errors import QuantizationError
from models.llamacpp.quantization.ggml_types import row_size
from models.machine.fit import ModelFile
from quantize.calibration.check_memory import check_bytes
from quantize.calibration.forms import form_of
from quantize.calibration.memory import factors_bytes, piece_bytes
from quantize.calibration.rounding import NORMAL_EFFORT
from quantize.checkpoint.source import TensorSource
from quantize.kernels.compiler import MEMORY_BYTES, WORTH_ELEMENTS
from quantize.kernels.k_quants import TYPES
from quantize.plan.plan import QuantizationPlan
from quantize.run.encode import BLOCK_ELEMENTS, PIECE_ELEMENTS, rows_per_block, source_itemsize

BASE_BYTES: Final = 320 * 2**20
"""An allowance for Python, the libraries and the vocabulary: whole runs over a 1.1 B model with 32k tokens
peaked at 107 to 116 MiB, a 256k vocabulary takes more."""

_SMALLER_BLOCKS: Final = (2**19, 2**18, 2**17, 2**16)


@dataclass(frozen=True)
class Bounds:
    """The resources that a pass may use. `memory_bytes`: all of them together; `compiled`: encoders of our
    own are worth their memory, and it is there.
    """

    threads: int
    block_elements: int
    memory_bytes: int
    compiled: bool = False


def bounds_for(
    plan: QuantizationPlan, source: TensorSource, threads: int, limit_bytes: int | None = None
) -> Bounds:
    """Return the largest blocks and the most threads, up to `threads`, that `limit_bytes` allow.

    Raises QuantizationError, saying what is needed, when not even one thread fits.
    """
    held = BASE_BYTES + plan_bytes(plan) + source.memory_bytes + factor_bytes(plan)
    is_calibrated = plan.is_calibrated
    for compiled in (True, False) if worth_compiling(plan) else (False,):
        for n_threads in range(max(1, threads), 0, -1):
            for elements in (BLOCK_ELEMENTS, *_SMALLER_BLOCKS):
                needed = held + n_threads * block_bytes(plan, source, elements)
                needed += (compiled or is_calibrated) * MEMORY_BYTES
                if limit_bytes is None or needed <= limit_bytes:
                    return Bounds(n_threads, elements, needed, compiled)
    least = held + block_bytes(plan, source, _SMALLER_BLOCKS[-1]) + is_calibrated * MEMORY_BYTES
    raise QuantizationError(
        f"this model can't be quantized in {limit_bytes:,} bytes of memory, even with one thread; "
        f"give --memory at least {-(-least // 2**20)}MiB"
    )


def memory_of_check(
    plan: QuantizationPlan, model: ModelFile, *, n_texts: int, n_windows: int, n_ctx: int
) -> int:
    """Return the bytes that the program takes while files of the plan are compared with the 16-bit `model`.

    The check runs `n_windows` windows of `n_ctx` tokens of each text.
    """
    replaced = (tensor.n_elements for index, tensor in enumerate(plan.tensors) if plan.is_rounded(index))
    largest = max(replaced, default=0)
    checked = check_bytes(model, largest, n_texts=n_texts, n_windows=n_windows, n_ctx=n_ctx)
    return BASE_BYTES + MEMORY_BYTES + checked


def worth_compiling(plan: QuantizationPlan) -> bool:
    """True if there is enough to encode as types that have compiled encoders; a calibration encodes often."""
    elements = sum(
        tensor.n_elements * len(TYPES.intersection(_kinds(plan, index)))
        for index, tensor in enumerate(plan.tensors)
    )
    times = 1 + len(NORMAL_EFFORT.searches) if plan.is_calibrated else 1
    return elements * times >= WORTH_ELEMENTS


def factor_bytes(plan: QuantizationPlan) -> int:
    """Return the bytes of the factors that a calibration holds at most."""
    widths = [plan.tensors[index].n_per_row for index in _rounded(plan)]
    return factors_bytes(widths) if widths else 0


def plan_bytes(plan: QuantizationPlan) -> int:
    """Return the bytes of the files' headers, which are kept."""
    return sum(2 * len(file.header) for file in plan.outputs)


def block_bytes(plan: QuantizationPlan, source: TensorSource, block_elements: int) -> int:
    """Return the bytes that a thread holds at most, over all tensors."""
    largest = 0
    for index, tensor in enumerate(plan.tensors):
        is_calibrated = plan.is_rounded(index)
        rows = min(rows_per_block(tensor, block_elements, is_calibrated=is_calibrated), tensor.n_rows)
        elements = rows * tensor.n_per_row
        itemsize = 2 * source_itemsize(source, tensor.sources) + source.working_itemsize
        read = elements * itemsize
        piece = 4 * min(elements, max(PIECE_ELEMENTS, tensor.n_per_row))
        encoded = sum(rows * row_size(kind, tensor.n_per_row) for kind in _kinds(plan, index))
        rounding = piece_bytes(tensor.n_per_row) if is_calibrated else 0
        largest = max(largest, read + piece + encoded + rounding)
    return largest


def _rounded(plan: QuantizationPlan) -> list[int]:
    """Return the tensors, by number, that are rounded by whole moments in some type."""
    return [
        index
        for index in range(len(plan.tensors))
        if plan.is_rounded(index) and any(map(form_of, plan.types_of(index)))
    ]


def _kinds(plan: QuantizationPlan, index: int) -> Sequence[int]:
    return sorted(set(plan.types_of(index)))
