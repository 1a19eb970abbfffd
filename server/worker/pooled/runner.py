"""`PooledRunner`: puts texts through one context, many at a time; makes a vector or scores of each.

llama.cpp gives a vector per token; the pooling is done here, so that a causal model's text can be computed in
parts. Only a classifier's head is llama.cpp's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.pooling import Pooling
from server.worker.pooled.idle_thread import IdleThread
from server.worker.pooled.segments import SegmentEmbeddings
from server.worker.pooled.step_threads import StepThreads
from server.worker.pooled.vectors import Floats
from server.worker.run.adaptive_threads import AdaptiveThreads
from server.worker.run.context_decoder import DecodeListener

WARM_UP_TEXTS = 4
WARM_UP_TOKENS = 16
"""The warm-up has so many texts of so many tokens."""


@dataclass
class PooledText:
    """One text on its way: its tokens, and what has been made of those that are computed."""

    request_id: str
    index: int
    tokens: Sequence[int]
    wants_rows: bool = False
    n_first: int | None = None
    """The tokens of the first of two texts; None: all are of one."""
    n_computed: int = 0
    rows: list[Floats] = field(default_factory=list)
    """The vectors that are kept of its tokens: all, sums, or one."""
    result: Floats | None = None
    """[n, width]: the text's vector, its tokens' vectors, or its scores; None until it is complete."""


class PooledRunner:
    """Computes texts in steps of at most `n_step_tokens` tokens. One thread.

    An encoder's text is computed as a whole, however long it is: its tokens attend to each other.
    """

    def __init__(
        self,
        context: Context,
        pooling: Pooling,
        n_ctx: int,
        n_step_tokens: int,
        listener: DecodeListener | None = None,
        segments: SegmentEmbeddings | None = None,
        threads: AdaptiveThreads | None = None,
    ) -> None:
        """`context`: with embeddings and this pooling, "none" for all but "rank"; borrowed. `segments`: of a
        model that knows which of two texts a token is of. `threads`: None, their number stays."""
        model = context.model
        self.pooling = pooling
        self.n_ctx = n_ctx
        self.n_step_tokens = min(n_step_tokens, context.n_batch)
        self.n_sequences = context.n_seq_max
        self.n_slots = 1
        self.n_vocab = model.vocab.n_tokens
        self.width = model.n_cls_out if pooling.name == "rank" else model.n_embd_out
        self._context = context
        self._listener = listener
        self._segments = segments
        self._batch = TokenBatch(context.n_batch, 0 if segments is None else segments.n_embd)
        self._batch.use_embeddings(segments is not None)
        self._compute = context.decode if model.has_decoder else context.encode
        self.texts: list[PooledText] = []
        """The texts that were begun last."""
        self._places: npt.NDArray[np.int32] = np.zeros((0, 4), np.int32)
        self._n_done = 0
        self._idle = IdleThread()
        self._threads = StepThreads(context, threads)

    @property
    def n_left(self) -> int:
        """The tokens that are still to be computed of the texts that were begun."""
        return len(self._places) - self._n_done

    def begin(self, texts: Sequence[PooledText]) -> None:
        """Take texts, at most `n_sequences`, whose tokens together fit a step, or one text alone."""
        if len(texts) > self.n_sequences:
            raise LlamaCppError(f"{len(texts)} texts at a time; this context takes {self.n_sequences}")
        self.texts = list(texts)
        self._places = np.concatenate([_places(text, i) for i, text in enumerate(texts)])
        self._n_done = 0
        if self._context.has_memory:
            self._context.clear()

    def drop(self) -> None:
        """Forget the texts that were begun."""
        self.texts, self._places, self._n_done = [], self._places[:0], 0

    def advance(self, room: int | None = None, *, idle: bool = False) -> list[PooledText]:
        """Compute a step of what was begun; return the texts that it completes. Raises DecodeError.

        A causal model's has at most `room` tokens. With `idle` it has what others leave of the cores.
        """
        most = min(room or self.n_step_tokens, self.n_step_tokens)
        if not self.pooling.is_causal:
            most = len(self._places)
        first, last = self._n_done, min(self._n_done + most, len(self._places))
        self._fill(self._places[first:last])
        if idle:
            self._idle.run(lambda: self._compute(self._batch))
        else:
            self._threads.run(lambda: self._compute(self._batch), last - first)
        if self._listener is not None:
            self._listener.decoded()
        self._n_done = last
        rows = None if self.pooling.name == "rank" else self._context.embedding_rows()
        complete = []
        for sequence, start, end in _parts(self.texts, first, last):
            text = self.texts[sequence]
            text.n_computed += end - start
            if rows is not None:
                self._keep(text, rows[start:end])
            if text.n_computed == len(text.tokens):
                text.result = (
                    self._context.scores_seq(sequence)[None].copy() if rows is None else self._pooled(text)
                )
                complete.append(text)
        return complete

    def warm_up(self) -> None:
        """Compute once and forget it: a build that crashes does it here. Raises DecodeError."""
        token = self._context.model.vocab.bos or 0
        n_texts = min(WARM_UP_TEXTS, self.n_sequences)
        n_tokens = max(1, min(WARM_UP_TOKENS, self.n_ctx, self.n_step_tokens // n_texts))
        self.begin([PooledText("", i, [token] * n_tokens) for i in range(n_texts)])
        while self.n_left:
            self.advance()
        self.drop()

    # --- inside ----------------------------------------------------------------------------------

    def _fill(self, places: npt.NDArray[np.int32]) -> None:
        batch, n = self._batch, len(places)
        batch.clear()
        batch.seq_ids[:n], batch.tokens[:n], batch.positions[:n], segments = places.T
        if self._segments is not None:
            batch.embeddings[:n] = self._segments.rows(batch.tokens[:n], segments)
        batch.outputs[:n] = 1
        batch.n_tokens = n

    def _keep(self, text: PooledText, rows: Floats) -> None:
        """Keep of a part's vectors what the pooling needs."""
        name = self.pooling.name
        if text.wants_rows:
            text.rows.append(rows.copy())
        elif name == "mean":
            text.rows.append(rows.sum(axis=0, dtype=np.float32)[None])
        elif name == "cls":
            if text.n_computed == len(rows):
                text.rows = [rows[:1].copy()]
        elif text.n_computed == len(text.tokens):
            text.rows = [rows[-1:].copy()]

    def _pooled(self, text: PooledText) -> Floats:
        if text.wants_rows:
            return np.concatenate(text.rows)
        if self.pooling.name == "mean":
            total: Floats = np.sum(text.rows, axis=0, dtype=np.float32)
            return total / np.float32(len(text.tokens))
        return text.rows[0]


def _places(text: PooledText, sequence: int) -> npt.NDArray[np.int32]:
    """Return (sequence, token, position, segment) of each token."""
    n = len(text.tokens)
    positions = np.arange(n, dtype=np.int32)
    places = np.zeros((n, 4), np.int32)
    places[:, 0], places[:, 1], places[:, 2] = sequence, text.tokens, positions
    if text.n_first is not None:
        places[:, 3] = positions >= text.n_first
    return places


def _parts(texts: Sequence[PooledText], first: int, last: int) -> list[tuple[int, int, int]]:
    """Return (text, start, end) of each text's share of the tokens from `first` to `last`."""
    parts = []
    begin = 0
    for index, text in enumerate(texts):
        end = begin + len(text.tokens)
        if end > first and begin < last:
            parts.append((index, max(begin, first) - first, min(end, last) - first))
        begin = end
    return parts
