"""A step of eight sequences with KV cells of their own, and with shared ones.

    python -m bench.kv_layouts MODEL.gguf [--kernels off]

Both contexts are open at once and take turns, step by step: the ratio of the two steps of a turn hardly knows
what else the machine does. Printed are medians over the turns, for each length of the sequences; with what
ended sequences left in the shared cells, too: llama.cpp's attention walks over that for every sequence.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.kernels.use import choose_kernels
from server.serve_options import ServeOptions

N_SEQUENCES = 8
N_TURNS = 40
"""The steps of each context whose median is printed."""
CHUNK = 512
"""Prompts are computed in chunks of so many tokens."""


def fill(context: Context, batch: TokenBatch, slot: int, n_tokens: int) -> None:
    """Compute a prompt of `n_tokens` in a slot."""
    for start in range(0, n_tokens, CHUNK):
        places = range(start, min(start + CHUNK, n_tokens))
        batch.clear()
        batch.add_many(
            [5 + (7 * place + 13 * slot) % 900 for place in places], start, slot, output_last=False
        )
        context.decode(batch)


def step_s(context: Context, batch: TokenBatch, position: int) -> float:
    """Return the seconds of one token more of every sequence."""
    batch.clear()
    for slot in range(N_SEQUENCES):
        batch.add_many([7 + slot], position, slot, output_last=True)
    start_s = time.perf_counter()
    context.decode(batch)
    return time.perf_counter() - start_s


def ratio(model: Model, n_tokens: int, n_left: int, n_threads: int) -> tuple[float, float]:
    """Return the median ratio of a step with shared cells to one without, and the median ms of the latter."""
    cells = N_SEQUENCES * (n_tokens + 256) + n_left
    batch = TokenBatch(CHUNK)
    with (
        Context(model, n_ctx=cells, n_seq_max=N_SEQUENCES, n_threads=n_threads) as own,
        Context(
            model, n_ctx=cells, n_seq_max=N_SEQUENCES + 1, n_threads=n_threads, kv_unified=True
        ) as shared,
    ):
        if n_left:
            fill(shared, batch, N_SEQUENCES, n_left)
        for context in (own, shared):
            for slot in range(N_SEQUENCES):
                fill(context, batch, slot, n_tokens)
        turns = [
            (step_s(own, batch, n_tokens + turn), step_s(shared, batch, n_tokens + turn))
            for turn in range(N_TURNS)
        ]
    ratios = [second / first for first, second in turns]
    return statistics.median(ratios), 1e3 * statistics.median(first for first, _ in turns)


def main() -> None:
    """Measure and print a line for each length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, nargs="+", default=[200, 800], help="tokens of each sequence")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kernels", choices=["on", "off"], default="on", help="whose are measured")
    options = parser.parse_args()
    choice = choose_kernels(ServeOptions(kernels=options.kernels), is_all_on_gpu=False)
    model = Model.load(options.model, n_gpu_layers=0)
    print(f"kernels: {choice.report().text}")
    for n_tokens in options.tokens:
        for n_left in (0, 10 * n_tokens):
            found, own_ms = ratio(model, n_tokens, n_left, options.threads)
            print(
                f"{N_SEQUENCES} sequences of {n_tokens} tokens, {n_left} left by others:"
                f" shared / own {found:.3f} (own: {own_ms:.1f} ms)"
            )


if __name__ == "__main__":
    main()
