"""The speed of a file on this machine: a prompt of 512 tokens, and tokens one after the other."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from quantize.evaluate.windows import PLAIN_KV, KVTypes

N_PROMPT: Final = 512
"""The prompt has this many tokens."""

N_DECODE: Final = 32
"""After the prompt, this many tokens are decoded."""

REPEATS: Final = 3
"""The figures are medians of this many runs."""


@dataclass(frozen=True)
class Speed:
    """The speed of one sequence in tokens per second: medians of a few runs."""

    prompt: float
    decode: float
    threads: int


def measure_speed(path: Path, *, threads: int, repeats: int = REPEATS, kv_types: KVTypes = PLAIN_KV) -> Speed:
    """Measure the speed. Blocks for a few seconds; nothing else should run. Raises LlamaCppError."""
    with Model.load(path) as model:
        n_prompt = min(N_PROMPT, max(16, model.n_ctx_train - N_DECODE))
        with Context(
            model, n_ctx=n_prompt + N_DECODE, n_threads=threads, type_k=kv_types.k, type_v=kv_types.v
        ) as context:
            tokens = np.random.default_rng(1).integers(0, model.vocab.n_tokens, n_prompt).tolist()
            batch = TokenBatch(n_prompt)
            _run(context, batch, tokens)
            runs = [_run(context, batch, tokens) for _ in range(repeats)]
    prompts, decodes = zip(*runs, strict=True)
    return Speed(n_prompt / statistics.median(prompts), N_DECODE / statistics.median(decodes), threads)


def _run(context: Context, batch: TokenBatch, tokens: list[int]) -> tuple[float, float]:
    """Return the seconds for the prompt, and for the tokens after it."""
    context.clear()
    batch.clear()
    batch.add_many(tokens, 0, 0, output_last=True)
    began = time.perf_counter()
    context.decode(batch)
    context.synchronize()
    prompt = time.perf_counter() - began
    began = time.perf_counter()
    for i in range(N_DECODE):
        batch.clear()
        batch.add(tokens[i % len(tokens)], len(tokens) + i, 0, True)
        context.decode(batch)
        context.synchronize()
    return prompt, time.perf_counter() - began
