"""A text as windows of equal length, run through a model side by side, as llama.cpp's tools do it.

Each window starts with BOS where the vocabulary wants one. Logits are computed for its second half, where
every token has half a window of context. Windows are decoded several at a time, 2,048 tokens in all, so
that figures equal those of `llama-perplexity` also where kernels round by the batch's shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import ConfigError, QuantizationError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.eval_callback import MatmulObserver
from models.llamacpp.model import Model

N_BATCH: Final = 2048
"""A batch has this many tokens at most, as llama-perplexity's has."""

N_UBATCH: Final = 512
"""A micro-batch has this many tokens at most."""

DEFAULT_N_CTX: Final = 512
"""A window has this many tokens unless the caller says otherwise."""

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TextPlan:
    """The part of a text that models run over: `n_chunks` windows of `n_ctx` tokens; None for all of it."""

    text: str
    n_ctx: int = DEFAULT_N_CTX
    n_chunks: int | None = None


@dataclass(frozen=True)
class Windows:
    """Windows of a text: `tokens` [n_windows, n_ctx] i32 in order; each begins with `bos`, if any."""

    tokens: Tokens
    bos: int | None

    @property
    def n_ctx(self) -> int:
        return int(self.tokens.shape[1])

    @property
    def first(self) -> int:
        """The first position whose logits are looked at."""
        return self.n_ctx // 2

    @property
    def n_scored(self) -> int:
        """The number of tokens that are predicted in each window."""
        return self.n_ctx - 1 - self.first

    @property
    def at_once(self) -> int:
        """The number of windows in one batch."""
        return max(1, N_BATCH // self.n_ctx)

    def __len__(self) -> int:
        return len(self.tokens)

    def groups(self) -> Iterator[range]:
        """Yield the windows' numbers, batch by batch."""
        for start in range(0, len(self), self.at_once):
            yield range(start, min(start + self.at_once, len(self)))

    def targets(self, group: range) -> npt.NDArray[np.int32]:
        """Return the tokens [len(group) · n_scored] that the scored positions should predict."""
        return self.tokens[group.start : group.stop, self.first + 1 :].reshape(-1)


def read_text(raw: bytes) -> str:
    """Return a file's text as llama.cpp's tools do: without its last newline. Raises QuantizationError."""
    try:
        return raw.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise QuantizationError(
            f"the text is not UTF-8 ({error.reason} at {error.start}); save it so"
        ) from None


def cut_windows(model: Model, plan: TextPlan) -> Windows:
    """Cut the plan's text into windows of `n_ctx` tokens, at most `n_chunks`; what is left over is dropped.

    Raises ConfigError: less text than two windows; QuantizationError: a model that has an encoder.
    """
    if model.has_encoder or not model.has_decoder:  # llama.cpp would end the process
        raise QuantizationError(
            f"{model.path.name} has an encoder; a text runs only through models that continue it alone"
        )
    n_ctx, n_chunks = plan.n_ctx, plan.n_chunks
    if not 8 <= n_ctx <= 1 << 20:
        raise ConfigError(f"a context of {n_ctx} tokens can't be evaluated; give 8 or more")
    if n_chunks is not None and n_chunks < 1:
        raise ConfigError(f"{n_chunks} chunks of text are none; give 1 or more")
    ids = model.vocab.tokenize(plan.text, add_special=True, parse_special=False)
    if len(ids) < 2 * n_ctx:
        raise ConfigError(
            f"the text has {len(ids)} tokens and at least {2 * n_ctx} are needed for a context of {n_ctx}; "
            "give a longer text or a smaller --ctx"
        )
    count = len(ids) // n_ctx if n_chunks is None else min(len(ids) // n_ctx, n_chunks)
    tokens = np.asarray(ids[: count * n_ctx], np.int32).reshape(count, n_ctx)
    return Windows(tokens, model.vocab.bos if model.vocab.add_bos else None)


@dataclass(frozen=True)
class KVTypes:
    """The types in which a context keeps keys and values, as `--type-k` and `--type-v` name them."""

    k: str = "f16"
    v: str = "f16"

    def __str__(self) -> str:
        return self.k if self.k == self.v else f"{self.k}/{self.v}"


PLAIN_KV: Final = KVTypes()
"""The types that a baseline is computed with, and that a server has by default."""


class WindowRunner:
    """Runs windows through one model; owns its context until `close`. One thread."""

    def __init__(
        self,
        model: Model,
        windows: Windows,
        *,
        threads: int,
        observer: MatmulObserver | None = None,
        is_exact: bool = False,
        kv_types: KVTypes = PLAIN_KV,
    ) -> None:
        """`is_exact`: keys and values stay floats, and attention is no operation of its own, which rounds.

        Else they are of `kv_types`. Raises ContextError: types that this model can't have.
        """
        at_once, n_ctx = windows.at_once, windows.n_ctx
        n_batch = min(N_BATCH, at_once * n_ctx)
        self._windows = windows
        self._n_batch = n_batch
        self._context = Context(
            model,
            n_ctx=at_once * n_ctx,
            n_batch=n_batch,
            n_ubatch=N_UBATCH,
            n_seq_max=at_once,
            n_threads=threads,
            flash_attn="off" if is_exact else "auto",
            type_k="f32" if is_exact else kv_types.k,
            type_v="f32" if is_exact else kv_types.v,
            observer=observer,
        )
        self._batch = TokenBatch(n_batch)

    def close(self) -> None:
        """Free the context."""
        self._context.close()

    def logits(self, group: range) -> npt.NDArray[np.float32]:
        """Decode the windows of `group`; return logits [len(group) · n_scored, n_vocab] f32.

        They may be a view, valid until the next call.
        """
        windows, n_vocab = self._windows, self._context.n_vocab
        pieces = []
        for logits in self._decode(group, windows.first):
            if len(windows.tokens[0]) <= self._n_batch:
                shaped = logits.reshape(len(group), windows.n_scored + 1, n_vocab)
                return np.ascontiguousarray(shaped[:, :-1]).reshape(-1, n_vocab)
            pieces.append(logits.copy())
        return np.concatenate(pieces)[:-1]

    def run(self, group: range) -> None:
        """Decode the windows of `group` with output everywhere, for an observer."""
        for _ in self._decode(group, 0):
            pass

    def _decode(self, group: range, first: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the logits from `first` on, batch by batch: one, unless a window is longer than a batch."""
        self._context.clear()
        n_ctx = self._windows.n_ctx
        for start in range(0, n_ctx, self._n_batch):
            stop = min(start + self._n_batch, n_ctx)
            positions = np.arange(start, stop, dtype=np.int32)
            tokens = self._windows.tokens[group.start : group.stop, start:stop].copy()
            if start == 0 and self._windows.bos is not None:
                tokens[:, 0] = self._windows.bos
            n = len(group)
            self._batch.fill(
                tokens.reshape(-1).tolist(),
                np.tile(positions, n).tolist(),
                np.repeat(np.arange(n), len(positions)).tolist(),
                np.tile(positions >= first, n).astype(np.int8).tolist(),
            )
            self._context.decode(self._batch)
            yield self._context.logits()
