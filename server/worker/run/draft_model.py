"""`DraftProposer`: a smaller model of the same vocabulary guesses what the served one says next."""

from __future__ import annotations

import logging
import time
from collections import abc
from collections.abc import Callable
from pathlib import Path

from models.errors import DecodeError, ModelLoadError
from models.gguf.info import read_gguf_info
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from models.llamacpp.vocab import Vocab
from server.engine.prefix.radix_tree import common_prefix
from server.engine.sequence import Sequence
from server.ipc.model_spec import ModelSpec
from server.worker.run.draft_cells import plan_cells

logger = logging.getLogger("corral.worker")

CATCH_UP_TOKENS = 512
"""The draft model reads at most this many tokens of prompts per step, so that no stream waits long."""
FEW_TOKENS = 32
"""Reading more tokens than these isn't what a draft costs, but a prompt."""
_WEIGHT = 0.2
"""Weight of a new measurement in the moving average of the time of a guess."""
_VOCABULARY_SLACK = 128
"""The sizes of the vocabularies may differ by this many tokens: padding to a round number."""


class DraftProposer:
    """Proposes the likeliest next tokens by the draft model, for all sequences in one batch per guess.

    It keeps a KV cache of its own with one sequence per slot of the served model. One thread.
    """

    def __init__(self, context: Context, n_vocab: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`n_vocab`: size of the served model's vocabulary; this one's padding beyond it is never guessed."""
        self._context = context
        self._n_vocab = n_vocab
        self._clock_s = clock_s
        self._batch = TokenBatch(context.n_batch)
        self._held: list[list[int]] = [[] for _ in range(context.n_seq_max)]
        self._guess_s = 1e-4
        self._start_s = 0.0
        self._has_failed = False

    @property
    def guess_s(self) -> float:
        """Moving average of the seconds of one guess for all sequences."""
        return self._guess_s

    @property
    def start_s(self) -> float:
        """Moving average of the seconds in which it reads what it hasn't guessed itself."""
        return self._start_s

    def propose(self, wanted: abc.Sequence[tuple[Sequence, int]]) -> list[list[int]]:
        """Return up to n guesses each; none yet for one whose prompt this model is still reading."""
        guesses: list[list[int]] = [[] for _ in wanted]
        try:
            start_s = self._clock_s()
            ready = self._catch_up(wanted)
            if self._batch.n_tokens <= FEW_TOKENS:
                self._start_s += _WEIGHT * (self._clock_s() - start_s - self._start_s)
            while ready:
                start_s = self._clock_s()
                self._guess(wanted, guesses, ready)
                self._guess_s += _WEIGHT * (self._clock_s() - start_s - self._guess_s)
                ready = [i for i in ready if len(guesses[i]) < wanted[i][1]]
        except DecodeError as error:  # full or broken off: guesses are optional
            if not self._has_failed:
                logger.warning("the draft model begins anew: %s", error)
            self._has_failed = True
            self._context.clear()
            self._held = [[] for _ in self._held]
        return guesses

    def rest(self, n_steps: int) -> None:
        """Keep what it has read."""

    def close(self, sequence: Sequence) -> None:
        """Keep what the slot holds: the next sequence there may begin alike."""

    def _catch_up(self, wanted: abc.Sequence[tuple[Sequence, int]]) -> list[int]:
        """Read what this model hasn't seen; return the indexes in `wanted` of those that then lack only their
        last token, in the order of their slots."""
        budget = min(CATCH_UP_TOKENS, self._batch.n_tokens_max)
        self._batch.clear()
        ready: list[int] = []
        for i in self._fitting(wanted):
            sequence = wanted[i][0]
            slot, tokens = slot_of(sequence), sequence.tokens
            held = self._held[slot]
            n_same = common_prefix(held, tokens, len(tokens) - 1)
            if n_same < len(held):
                self._context.seq_rm(slot, n_same, None)
                del held[n_same:]
            missing = tokens[n_same : min(len(tokens) - 1, n_same + budget)]
            if missing:
                self._batch.add_many(missing, n_same, slot, output_last=False)
                held += missing
                budget -= len(missing)
            if len(held) == len(tokens) - 1:
                ready.append(i)
        if self._batch.n_tokens:
            self._context.decode(self._batch)
        return sorted(ready, key=lambda i: slot_of(wanted[i][0]))

    def _fitting(self, wanted: abc.Sequence[tuple[Sequence, int]]) -> list[int]:
        """Return the indexes of those that have room; slots that stand in their way are emptied."""
        sizes = [(slot_of(sequence), len(sequence.tokens) + n) for sequence, n in wanted]
        held = [len(tokens) for tokens in self._held]
        chosen, forgotten = plan_cells(sizes, held, self._context.n_ctx, self._context.n_ctx_seq)
        for slot in forgotten:
            self._context.seq_rm(slot)
            self._held[slot].clear()
        return chosen

    def _guess(
        self, wanted: abc.Sequence[tuple[Sequence, int]], guesses: list[list[int]], ready: list[int]
    ) -> None:
        """Make one more guess for each of `ready`, which are in ascending order of their slots."""
        self._batch.clear()
        for i in ready:
            sequence = wanted[i][0]
            slot = slot_of(sequence)
            token = guesses[i][-1] if guesses[i] else sequence.tokens[-1]
            self._batch.add(token, len(self._held[slot]), slot, True)
            self._held[slot].append(token)
        self._context.decode(self._batch)
        for i, best in zip(ready, self._context.logits()[:, : self._n_vocab].argmax(axis=1), strict=True):
            guesses[i].append(int(best))


def load_draft(spec: ModelSpec, served: Context) -> DraftProposer:
    """Load the draft model of `spec` for the served one. Raises ModelLoadError if it can't guess for it."""
    assert spec.draft_path is not None
    info = read_gguf_info(Path(spec.draft_path))
    model = Model.load(
        info.path,
        n_gpu_layers=served.model.n_gpu_layers,
        use_mmap=spec.options.use_mmap,
        use_extra_bufts=spec.options.use_extra_bufts,
    )
    reason = mismatch(model.vocab, served.model.vocab)
    if reason is not None:
        raise ModelLoadError(
            f"{info.path.name} can't draft for {spec.name}: {reason}; give a smaller model of the same family"
            " with --draft, or none"
        )
    context = Context(
        model,
        n_ctx=served.n_ctx,
        kv_unified=True,  # a chat may be longer than its share, in one layout or another
        n_batch=max(CATCH_UP_TOKENS, served.n_seq_max),
        n_ubatch=served.n_ubatch,
        n_seq_max=served.n_seq_max,
        n_threads=served.n_threads,
        n_threads_batch=served.n_threads_batch,
        cores=served.cores,
        flash_attn=spec.options.flash_attn,
        type_k=spec.options.type_k,
        type_v=spec.options.type_v,
    )
    return DraftProposer(context, served.model.vocab.n_tokens)


def mismatch(draft: Vocab, served: Vocab) -> str | None:
    """Return the reason why tokens of one vocabulary mean something else in the other; None if they don't."""
    if abs(draft.n_tokens - served.n_tokens) > _VOCABULARY_SLACK:
        return f"its vocabulary has {draft.n_tokens:,} tokens, not {served.n_tokens:,}"
    if (draft.bos, draft.eos) != (served.bos, served.eos):
        return "its BOS or EOS token is another one"
    for token in range(min(draft.n_tokens, served.n_tokens)):
        if draft.piece(token, special=True) != served.piece(token, special=True):
            return f"token {token} is another text in it"
    return None


def slot_of(sequence: Sequence) -> int:
    """Return the slot of a sequence that runs."""
    assert sequence.slot is not None
    return sequence.slot
