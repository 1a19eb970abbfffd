"""The fixed prompt of golden files, decoded by llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from tests.quantize.families.generation_golden import N_TOKENS, PROMPT, golden_generation


def decode(path: Path) -> dict[str, Any]:
    """Return greedy tokens after PROMPT, and its logits; F32 throughout, as far as the file is."""
    with (
        Model.load(path, use_extra_bufts=False) as model,
        Context(
            model,
            n_ctx=64,
            n_batch=64,
            n_ubatch=64,
            n_threads=1,
            flash_attn="off",
            type_k="f32",
            type_v="f32",
        ) as context,
    ):
        batch = TokenBatch(64)
        tokens: list[int] = []
        new, at = PROMPT, 0
        first: npt.NDArray[Any] | None = None
        while len(tokens) < N_TOKENS:
            batch.clear()
            batch.add_many(new, at, 0, output_last=True)
            context.decode(batch)
            logits = context.logits()[-1].copy()
            first = logits if first is None else first
            tokens.append(int(logits.argmax()))
            new, at = tokens[-1:], at + len(new)
        assert first is not None
        return golden_generation(tokens, first)
