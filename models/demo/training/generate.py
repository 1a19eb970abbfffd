"""Complete many prompts greedily with one GGUF file: several sequences in one llama.cpp batch.

Only the evaluation uses this. It needs llama-cpp-python, which the product has anyway, and no torch.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that sleep: other work runs on the same cores

import llama_cpp
import numpy as np

N_SEQUENCES = 24
N_CTX = 24 * 512


def _quiet(_level: int, _text: bytes, _data: object) -> None:
    """Drop llama.cpp's log."""


_LOG_CALLBACK = llama_cpp.llama_log_callback(_quiet)


class Generator:
    """One GGUF file, loaded; use as a context manager, which frees it."""

    def __init__(self, path: Path, threads: int) -> None:
        llama_cpp.llama_log_set(_LOG_CALLBACK, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
        if not self._model:
            raise SystemExit(f"llama.cpp can't load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = N_CTX, N_CTX, 512
        params.n_seq_max, params.kv_unified = N_SEQUENCES, True
        params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._n_vocab = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self._eos = llama_cpp.llama_vocab_eos(self._vocab)
        self._batch = llama_cpp.llama_batch_init(N_CTX, 0, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def tokenize(self, text: str) -> list[int]:
        """Ids with BOS; `</s>` in the text is the token."""
        raw = text.encode()
        buffer = (llama_cpp.llama_token * (len(raw) + 8))()
        count = llama_cpp.llama_tokenize(self._vocab, raw, len(raw), buffer, len(buffer), True, True)
        return list(buffer[:count])

    def _text(self, tokens: Sequence[int]) -> str:
        raw = b""
        buffer = ctypes.create_string_buffer(256)
        for token in tokens:
            count = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
            raw += buffer.raw[:count]
        return raw.decode(errors="replace")

    def _decode(self, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        """Decode rows (token, position, sequence, wants output); the greedy token of each row that wants
        one.
        """
        batch = self._batch
        batch.n_tokens = len(rows)
        for index, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[index], batch.pos[index] = token, position
            batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, sequence, wanted
        if llama_cpp.llama_decode(self._context, batch) != 0:
            raise SystemExit("llama.cpp could not decode a batch; lower N_SEQUENCES")
        best = []
        for index, row in enumerate(rows):
            if row[3]:
                logits = llama_cpp.llama_get_logits_ith(self._context, index)
                best.append(int(np.ctypeslib.as_array(logits, (self._n_vocab,)).argmax()))
        return best

    def _complete_group(self, prompts: Sequence[str], max_tokens: int) -> list[tuple[str, bool]]:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        tokens = [self.tokenize(prompt) for prompt in prompts]
        rows = [
            (token, position, sequence, position == len(ids) - 1)
            for sequence, ids in enumerate(tokens)
            for position, token in enumerate(ids)
        ]
        written: list[list[int]] = [[] for _ in prompts]
        stopped = [False] * len(prompts)
        running = list(range(len(prompts)))
        best = self._decode(rows)
        while running:
            for sequence, token in zip(running, best, strict=True):
                if token == self._eos:
                    stopped[sequence] = True
                else:
                    written[sequence].append(token)
            running = [s for s in running if not stopped[s] and len(written[s]) < max_tokens]
            if running:
                best = self._decode(
                    [(written[s][-1], len(tokens[s]) + len(written[s]) - 1, s, True) for s in running]
                )
        return [(self._text(ids), end) for ids, end in zip(written, stopped, strict=True)]

    def complete(self, prompts: Sequence[str], max_tokens: int) -> list[tuple[str, bool]]:
        """For each prompt the greedy text, and whether it ended by itself."""
        done: list[tuple[str, bool]] = []
        for start in range(0, len(prompts), N_SEQUENCES):
            done += self._complete_group(prompts[start : start + N_SEQUENCES], max_tokens)
        return done
