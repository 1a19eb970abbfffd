"""Records of encoders for the fixed prompt, by llama.cpp: vectors, scores, or T5's answer."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.llamacpp import library
from models.llamacpp.model import Model
from tests.quantize.families.encoder_golden import BEGINNINGS, golden_scores
from tests.quantize.families.generation_golden import N_TOKENS, PROMPT, golden_generation

NO_POOLING, RANK = 0, 4


def answer(path: Path, start: int = 0) -> dict[str, Any]:
    """Return greedy tokens of an encoder and a decoder, and the logits of the first."""
    with _context(path, NO_POOLING, embeddings=False) as context:
        native = context.native
        _run(native.llama_encode, context, PROMPT)
        tokens: list[int] = []
        first: npt.NDArray[Any] | None = None
        new = start
        while len(tokens) < N_TOKENS:
            _run(native.llama_decode, context, [new])
            logits = _copy(native.llama_get_logits_ith(context.pointer, -1), context.n_vocab)
            first = logits if first is None else first
            new = int(logits.argmax())
            tokens.append(new)
        assert first is not None
        return golden_generation(tokens, first)


def vectors(path: Path) -> dict[str, Any]:
    """Return the places where an encoder's first vectors are largest, and the last token's vector."""
    with _context(path, NO_POOLING) as context:
        is_decoded = context.native.llama_get_memory(context.pointer) and not context.has_encoder
        _run(context.native.llama_decode if is_decoded else context.native.llama_encode, context, PROMPT)
        found = context.native.llama_get_embeddings(context.pointer)
        rows = _copy(found, len(PROMPT) * context.n_embd_out).reshape(len(PROMPT), -1)
        return golden_generation([int(row.argmax()) for row in rows[:N_TOKENS]], rows[-1])


def scores(path: Path) -> dict[str, Any]:
    """Return a classifier's scores for the prompt's beginnings."""
    found: list[npt.NDArray[Any]] = []
    for n in BEGINNINGS:
        with _context(path, RANK) as context:
            _run(context.native.llama_encode, context, PROMPT[:n])
            of_sequence = context.native.llama_get_embeddings_seq(context.pointer, 0)
            found.append(_copy(of_sequence, context.n_labels))
    return golden_scores(np.stack(found))


class _Context:
    def __init__(self, model: Model, pointer: Any) -> None:
        self.native = library.load()
        self.pointer = pointer
        self.n_vocab, self.n_embd_out = model.vocab.n_tokens, model.n_embd_out
        self.has_encoder = bool(self.native.llama_model_has_encoder(model.pointer))
        self.n_labels = int(self.native.llama_model_n_cls_out(model.pointer))


@contextmanager
def _context(path: Path, pooling: int, *, embeddings: bool = True) -> Iterator[_Context]:
    """Open a context for encoders: `models.llamacpp.context` is for decoders."""
    with Model.load(path, use_extra_bufts=False) as model:
        native = library.load()
        params = native.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 64
        params.n_threads = params.n_threads_batch = 1
        params.pooling_type, params.embeddings = pooling, embeddings
        params.flash_attn_type, params.type_k, params.type_v = 0, 0, 0
        pointer = native.llama_init_from_model(model.pointer, params)
        assert pointer, "no context"
        try:
            yield _Context(model, pointer)
        finally:
            native.llama_free(pointer)


def _run(function: Any, context: _Context, tokens: list[int]) -> None:
    array = (ctypes.c_int32 * len(tokens))(*tokens)
    status = function(context.pointer, context.native.llama_batch_get_one(array, len(tokens)))
    assert status == 0, f"status {status}"


def _copy(found: Any, n: int) -> npt.NDArray[Any]:
    return np.ctypeslib.as_array(ctypes.cast(found, ctypes.POINTER(ctypes.c_float)), (n,)).copy()
