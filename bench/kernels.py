"""Our matrix kernels beside ggml's, product by product, on one thread.

    python -m bench.kernels [--types Q4_K Q6_K] [--shapes 2048x5632] [--columns 1 8] [--ik-source DIR]

Every type and instruction set that this machine has is multiplied through ggml's own backend: with our
panels, with ggml's blocks as they are, and in the first of ggml's own extra buffer types that takes them.
The three take turns, and the least processor time of each counts: what others do on the machine can only add
to it. Few columns get their weights from memory, as a model's come; beside one column stands a plain read
of as many bytes. ik_llama.cpp's kernels take turns, too, where its sources are given.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import peers
from bench.ik_products import IkProducts, open_ik_products
from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.kernel_library import KernelLibrary, Place
from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size, type_name
from scripts.steps import SetUpError
from server.kernels.front import open_kernels
from server.kernels.samples import SCALES_AT, random_columns, random_weights

SHAPES = ((2048, 5632), (5632, 2048))
"""Inputs and rows of the matrices: the feed-forward network's of a model with 1.1 B parameters."""
COLUMNS = (1, 2, 3, 4, 8, 16, 64)
FROM_MEMORY = 96 << 20
"""Weights that are to come from memory have so many bytes together, several times most caches."""
MOST_FROM_MEMORY = 8
"""More columns than these are bound by computing: one copy of the weights will do."""
LEAST_WORK = 4e8
"""A measurement takes at least so many multiplications, some tens of milliseconds."""
HUGE_PAGE = 2 << 20


@dataclass(frozen=True, slots=True)
class Product:
    """A product to time: `n` columns of `k` inputs by a matrix of `rows` rows."""

    ggml_type: int
    k: int
    rows: int
    n: int

    @property
    def work(self) -> int:
        """The multiplications."""
        return self.k * self.rows * self.n

    @property
    def n_bytes(self) -> int:
        """The bytes of the weights."""
        return self.rows * row_size(self.ggml_type, self.k)

    @property
    def n_copies(self) -> int:
        """So many copies of the matrix are multiplied in turn."""
        return -(-FROM_MEMORY // self.n_bytes) if self.n <= MOST_FROM_MEMORY else 1


@dataclass(frozen=True, slots=True)
class Timing:
    """The least seconds of a product: with our panels, with ggml's blocks, in ggml's extra buffer type.

    `extra_s`: None if no such type takes it. `read_s` is a plain read of the same bytes, beside one column.
    """

    product: Product
    ours_s: float
    plain_s: float
    extra_s: float | None
    read_s: float | None
    ik_s: float | None = None
    """ik_llama.cpp's better layout; None if it isn't here."""

    @property
    def ratio(self) -> float:
        """The better of ggml's over ours."""
        return min(self.plain_s, self.extra_s or self.plain_s) / self.ours_s


def measure(
    kernels: KernelLibrary, product: Product, n_rounds: int, read: PlainRead, ik: IkProducts | None = None
) -> Timing:
    """Time one product in all places. Raises LlamaCppError if ours or ggml's blocks aren't taken."""
    weights = random_weights(product.ggml_type, product.k, product.rows)
    columns = random_columns(product.k, product.n)
    n_repeats = max(1, round(LEAST_WORK / (product.work * product.n_copies)))
    times: dict[Place, list[float]] = {place: [] for place in Place}
    reads: list[float] = []
    iks: list[float] = []
    for _ in range(n_rounds):
        for place in Place:
            timed = kernels.timed(
                place, product.ggml_type, weights, columns, n_repeats=n_repeats, n_copies=product.n_copies
            )
            if timed is not None:
                times[place].append(timed.seconds)
        if ik is not None:
            iks.append(ik.seconds(product.ggml_type, weights, columns, n_repeats, product.n_copies))
        if product.n == 1:
            spent = [read.seconds(product.n_bytes * product.n_copies) for _ in range(n_repeats)]
            reads.append(sum(spent) / (n_repeats * product.n_copies))  # a mean, as a product's
    if not times[Place.PANELS] or not times[Place.PLAIN]:
        raise LlamaCppError(f"ggml takes no {product.k}x{product.rows} of {type_name(product.ggml_type)}")
    ours, plain, extra = (min(times[place], default=None) for place in Place)
    assert ours is not None
    assert plain is not None
    return Timing(product, ours, plain, extra, min(reads, default=None), min(iks, default=None))


class PlainRead:
    """Memory that lies as weights do, to be read from its beginning to an end.

    The C library's search for a byte that isn't there does nothing else: it goes through memory by vectors.
    """

    def __init__(self, n_bytes: int) -> None:
        """Fill memory for reads of up to `n_bytes`."""
        self._search = ctypes.CDLL(None).memchr
        self._search.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
        self._search.restype = ctypes.c_void_p
        memory = mmap.mmap(-1, n_bytes + HUGE_PAGE)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        self._view = np.frombuffer(memory, np.uint8)  # keeps the memory
        self._view[:] = 1
        self._start = -(-self._view.ctypes.data // HUGE_PAGE) * HUGE_PAGE

    def seconds(self, n_bytes: int) -> float:
        """Return the processor seconds of one read of the first `n_bytes`."""
        began = time.process_time()
        found = self._search(self._start, 0, n_bytes)
        assert found is None
        return time.process_time() - began


def table(timings: Sequence[Timing]) -> str:
    """Return the timings as a Markdown table: GMAC/s, and GB/s of weights beside one column."""
    has_ik = any(one.ik_s is not None for one in timings)
    ik_heads = [" ik_llama.cpp |", " ÷ ik_llama.cpp |", " --: | --: |"] if has_ik else ["", "", ""]
    lines = [
        "| type | inputs x rows | columns | ggml, plain | ggml, extra | Corral | ÷ ggml's best | of a read |"
        + "".join(ik_heads[:2]),
        "| --- | --- | --: | --: | --: | --: | --: | --: |" + ik_heads[2],
    ]
    for one in timings:
        product = one.product
        figures = [
            "–" if seconds is None else f"{product.work / seconds / 1e9:.1f}"
            for seconds in (one.plain_s, one.extra_s, one.ours_s)
        ]
        if product.n == 1:
            figures[2] += f" ({product.n_bytes / one.ours_s / 1e9:.1f} GB/s)"
        read = "" if one.read_s is None else f"{one.read_s / one.ours_s:.2f}"
        cells = [type_name(product.ggml_type), f"{product.k}x{product.rows}", str(product.n), *figures]
        cells += [f"{one.ratio:.2f}", read]
        if one.ik_s is not None:
            cells += [f"{product.work / one.ik_s / 1e9:.1f}", f"{one.ik_s / one.ours_s:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def products(
    kernels: KernelLibrary, types: Sequence[str], shapes: Sequence[tuple[int, int]], columns: Sequence[int]
) -> Iterator[Product]:
    """Yield the products of the types that the chosen set multiplies."""
    for name in types:
        if not kernels.has_kernels(GGML_TYPES[name]):
            print(f"{name} is left to ggml", file=sys.stderr)
            continue
        for k, rows in shapes:
            yield from (Product(GGML_TYPES[name], k, rows, n) for n in columns)


def shape(text: str) -> tuple[int, int]:
    """Read INPUTSxROWS."""
    k, _, rows = text.partition("x")
    if not (k.isdecimal() and rows.isdecimal() and int(k) > 0 and int(rows) > 0):
        raise argparse.ArgumentTypeError(f"{text} is no shape; write INPUTSxROWS, such as 2048x5632")
    return int(k), int(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description="our kernels beside ggml's")
    names = [type_name(one) for one in SCALES_AT]
    parser.add_argument("--types", nargs="+", choices=names, default=names, metavar="TYPE")
    parser.add_argument("--shapes", type=shape, nargs="+", default=SHAPES, metavar="INPUTSxROWS")
    parser.add_argument("--columns", type=int, nargs="+", default=COLUMNS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ik-source", type=Path, help="folder of ik_llama.cpp's sources, built at first use")
    args = parser.parse_args(arguments)
    library.load()
    opened = open_kernels()
    if opened.library is None:
        print(f"no kernels: {opened.reason}; {opened.fix}", file=sys.stderr)
        return 1
    for fault in opened.faults:
        print(fault, file=sys.stderr)
    try:
        with ExitStack() as stack:
            ik = None
            if args.ik_source is not None:
                server = peers.ik_llama_server(args.ik_source)
                ik = stack.enter_context(open_ik_products(args.ik_source, server))
            print_tables(opened.library, args, ik)
    except (LlamaCppError, SetUpError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def print_tables(kernels: KernelLibrary, args: argparse.Namespace, ik: IkProducts | None) -> None:
    """Measure all products by each set of this processor, and print a table for each."""
    read = PlainRead(FROM_MEMORY + max(4 * k * rows for k, rows in args.shapes))  # 4 bytes a weight at most
    for set_name in kernels.sets():
        if kernels.choose(set_name) is None:
            print(f"\n{set_name} isn't in this processor", file=sys.stderr)
            continue
        timings: list[Timing] = []
        for product in products(kernels, args.types, args.shapes, args.columns):
            timings.append(measure(kernels, product, args.rounds, read, ik))
            print(table(timings[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
        print(f"\n{set_name}, one thread, GMAC/s:\n\n{table(timings)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
