"""`PrefillContext`: a second context that computes prompts, on the weights as the file has them.

llama.cpp repacks quantized weights for the CPU so that few rows are quick: right for generating, where a step
has a row per sequence. A prompt has hundreds of rows, and for those its kernels for the file's own layout are
quicker, by a third and more. So where memory allows, the file is mapped a second time without repacking:
prompts are computed there, and a sequence's state moves over when its prompt is done.

    chunk, chunk, last chunk ──▶ logits of the first token
              │ prefill context
              └── state ──▶ main context: one token per step

`PrefillDecoding` decides which chunks go there; `KVSlots` brings back what a change of slots needs.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from models.errors import ContextError, LlamaCppError, ModelLoadError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context, FlashAttention
from models.llamacpp.model import Model
from server.engine.batch import BatchEntry, Copy, MemoryChange, Restore, Save, Trim
from server.placement.place import PROMPT_SIDE_SPARE_BYTES

logger = logging.getLogger("corral.worker")

CHUNK_MIN = 24
"""A smaller chunk is computed where it is needed: moving the state would cost more."""
WORTH = 0.9
"""The prefill context is used if it takes at most this fraction of the main context's time for a prompt."""
MEASURED_TOKENS = 64
"""The prompt by which the two contexts are compared has this many tokens."""
LEAST_TURNS, MOST_TURNS, ENOUGH_S = 2, 8, 0.5
"""The comparison takes at least and at most this many turns, and begins none after this many seconds."""


class PrefillContext:
    """Knows which slots' tokens are in the second context, and moves them between the two. One thread.

    Both contexts have the same layout. Where all slots share the cells, the main one may have no room for
    what moves there.
    """

    __slots__ = ("_held", "_main", "context")

    def __init__(self, main: Context, context: Context) -> None:
        """`context` has the cells of `main`, divided alike."""
        self.context = context
        self._main = main
        self._held: dict[int, int] = {}
        """Slots whose tokens are here and not in the main context, and how many they are."""

    def accepts(self, entry: BatchEntry) -> bool:
        """True if a chunk of a prompt goes here: it is long enough for the move to pay."""
        return len(entry.tokens) >= CHUNK_MIN and entry.n_outputs <= 1 and entry.targets is None

    def prepare(self, entry: BatchEntry) -> None:
        """Have exactly what comes before `entry` here, and count it in: it will be computed next."""
        slot, position = entry.slot, entry.position
        held = self._held.get(slot)
        if held is None or held < position:
            self._forget(slot)
            if position:
                self.context.state_seq_put(slot, self._main.state_seq_take(slot))
        elif held > position:
            self.context.seq_rm(slot, position, None)
        self._held[slot] = position + len(entry.tokens)

    @property
    def holds_any(self) -> bool:
        """True if any slot's tokens are here."""
        return bool(self._held)

    def take_back(self, entry: BatchEntry) -> None:
        """Forget what was computed of `entry`: the step failed, and it will come again."""
        self.context.seq_rm(entry.slot, entry.position, None)
        self._held[entry.slot] = entry.position

    def move(self, slot: int) -> None:
        """Bring a slot's tokens to the main context, if they are here.

        Raises LlamaCppError where that has no room for them: they stay here.
        """
        if self._held.get(slot):
            self._main.seq_rm(slot)
            self._main.state_seq_put(slot, self.context.state_seq_take(slot))
        self._forget(slot)

    def move_all(self) -> None:
        """Bring every slot's tokens to the main context."""
        for slot in list(self._held):
            self.move(slot)

    def settle(self, change: MemoryChange) -> None:
        """Bring over what a change of the main context's slots needs, and forget what it drops.

        Raises LlamaCppError as `move`.
        """
        if not self._held:
            return
        match change:
            case Copy():
                self.move(change.source)
                self._forget(change.target)
            case Restore():
                self._forget(change.slot)
            case Trim(slot=slot, n_keep=0):
                self._forget(slot)
            case Trim() | Save():
                self.move(change.slot)

    def _forget(self, slot: int) -> None:
        if self._held.pop(slot, None) is not None:
            self.context.seq_rm(slot)


@dataclass(frozen=True)
class PrefillOptions:
    """The options that the prefill context has in common with the main one."""

    n_threads: int
    flash_attn: FlashAttention
    type_k: str
    type_v: str


def open_prefill_context(
    main: Context, options: PrefillOptions, available_bytes: int, *, measure: bool
) -> PrefillContext | None:
    """Open the prefill context of a model on the CPU; None if memory is short or, measured, it doesn't pay.

    None, too, for cells that all sequences always share: there a state that moves over may find no room.
    """
    model = main.model
    if main.kv_unified or model.size_bytes + PROMPT_SIDE_SPARE_BYTES > available_bytes:
        return None
    try:
        plain = Model.load(model.path, n_gpu_layers=0, use_mmap=True, use_extra_bufts=False)
        context = Context(
            plain,
            n_ctx=main.n_ctx,
            n_batch=main.n_batch,
            n_ubatch=main.n_ubatch,
            n_seq_max=main.n_seq_max,
            n_threads=options.n_threads,
            flash_attn=options.flash_attn,
            type_k=options.type_k,
            type_v=options.type_v,
        )
    except (ModelLoadError, ContextError, LlamaCppError, MemoryError) as error:
        logger.warning("prompts are computed as everything else: %s", error)
        return None
    if measure:
        ratio = prompt_ratio(context, main)
        logger.info("a prompt on unpacked weights takes %.2f of the time on repacked ones", ratio)
        if ratio > WORTH:
            context.close()
            plain.close()
            return None
    return PrefillContext(main, context)


def prompt_ratio(one: Context, other: Context) -> float:
    """Return the time of a prompt in `one` over that in `other`; both are empty before and after.

    The quickest of a few, taken in turns: other work on the machine only ever adds.
    """
    least_s = [float("inf"), float("inf")]
    start_s = time.monotonic()
    for n_turns in range(MOST_TURNS):
        if n_turns >= LEAST_TURNS and time.monotonic() - start_s > ENOUGH_S:
            break
        for i, context in enumerate((one, other)):
            least_s[i] = min(least_s[i], prompt_s(context))
    return least_s[0] / least_s[1]


def prompt_s(context: Context) -> float:
    """Return the seconds of a prompt of `MEASURED_TOKENS`; the context is empty before and after."""
    token = context.model.vocab.bos or 0
    n = min(MEASURED_TOKENS, context.n_ctx_seq, context.n_batch)
    batch = TokenBatch(n)
    batch.add_many([token] * n, 0, 0, output_last=True)
    context.clear()
    start_s = time.monotonic()
    context.decode(batch)
    seconds = time.monotonic() - start_s
    context.clear()
    return seconds
