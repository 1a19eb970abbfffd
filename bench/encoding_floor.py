"""The time of encoding alone: `python -m bench.encoding_floor CHECKPOINT OUT.json TYPE …`.

Tensor by tensor, in the ggml types that the plan gives them (equal types once): rows are made F32 in memory,
and then the clock runs while all cores encode them.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.llamacpp.quantization.ggml_types import row_size
from models.llamacpp.quantization.quantizer import quantize_rows
from models.machine.hardware import available_cores
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.plan.make_plan import make_plan
from quantize.run.encode import PIECE_ELEMENTS, widen


def encode_all(pool: ThreadPoolExecutor, rows: npt.NDArray[np.float32], kinds: Sequence[int]) -> float:
    """Return the seconds that all threads take to encode the rows, piece by piece."""
    step = max(1, PIECE_ELEMENTS // rows.shape[1])
    local = threading.local()

    def encode(start: int) -> None:
        piece = rows[start : start + step]
        for kind in kinds:
            n_bytes = len(piece) * row_size(kind, piece.shape[1])
            out = getattr(local, "out", None)
            if out is None or len(out) < n_bytes:
                out = local.out = np.empty(n_bytes, np.uint8)
            quantize_rows(kind, piece, out)

    began = time.perf_counter()
    list(pool.map(encode, range(0, len(rows), step)))
    return time.perf_counter() - began


def main() -> int:
    folder, out, *types = sys.argv[1:]
    seconds = 0.0
    with Checkpoint.open(Path(folder)) as checkpoint, ThreadPoolExecutor(available_cores()) as pool:
        plan = make_plan(checkpoint, types)
        for index, tensor in enumerate(plan.tensors):
            kinds = sorted(set(plan.types_of(index)))
            n_rows = tensor.n_rows if len(tensor.ne) > 1 else tensor.n_per_row
            read = tensor.transform.read(checkpoint.tensors, tensor.sources, 0, n_rows)
            seconds += encode_all(pool, widen(read.reshape(-1, tensor.n_per_row)), kinds)
    Path(out).write_text(json.dumps({"seconds": seconds}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
