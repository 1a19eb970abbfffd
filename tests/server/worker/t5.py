"""A T5 in F32 by llama.cpp and nothing else."""

from __future__ import annotations

import numpy as np

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from tests.server.worker.session import N_CTX

N_TOKENS = 24


def t5_context(model: Model) -> Context:
    options = {"n_ctx": N_CTX, "n_batch": N_CTX, "n_ubatch": N_CTX, "n_threads": 1}
    return Context(model, **options, flash_attn="off", type_k="f32", type_v="f32")  # type: ignore[arg-type]


def t5_greedy(model: Model, prompt: list[int]) -> list[int]:
    """Greedy, by llama.cpp and nothing else."""
    said: list[int] = []
    eog = list(model.vocab.eog_tokens)
    with t5_context(model) as context:
        batch = TokenBatch(N_CTX)
        batch.add_many(prompt, 0, 0, output_last=True)
        context.encode(batch)
        token = model.decoder_start_token
        assert token is not None
        for position in range(N_TOKENS):
            batch.clear()
            batch.add(token, position, 0, True)
            context.decode(batch)
            row = context.logits()[0].copy()
            row[eog] = -np.inf
            token = int(row.argmax())
            said.append(token)
    return said
