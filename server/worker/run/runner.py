"""`LlamaRunner`: the engine's `ModelRunner` for decoder models: one context for all slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from models.errors import ContextError, CorralError, DecodeError, LlamaCppError, RestoreError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.projector import Projector
from server.engine.batch import Adapters, Batch, MemoryChange, Output, Relayout, Save
from server.engine.sampling_params import SamplingParams
from server.worker.prefix.file import PrefixHead
from server.worker.run.adaptive_threads import AdaptiveThreads
from server.worker.run.context_decoder import ContextDecoder, DecodeListener
from server.worker.run.decode_outputs import DecodeOutputs
from server.worker.run.decode_strategy import (
    ApartDecoding,
    DecodeStrategy,
    PlainDecoding,
    PrefillDecoding,
    WindowDecoding,
)
from server.worker.run.hidden_state_log import HiddenStateLog
from server.worker.run.image_step import ImageStep
from server.worker.run.kv_layout import KVLayout
from server.worker.run.kv_slots import KVSlots, States
from server.worker.run.positions import SlotPositions
from server.worker.run.prefill_context import PrefillContext


class AdapterSwitch(Protocol):
    """Puts a set of LoRA adapters to work in a context."""

    def use(self, context: Context, adapters: Adapters) -> None:
        """Make `adapters` those of the following decodes. Raises LlamaCppError."""


LONG = 64
"""More tokens of one sequence in a step are a prompt, not a draft: kept states wait for it."""


@dataclass(frozen=True, kw_only=True)
class RunnerParts:
    """The parts of a LlamaRunner that are opened before it; it can do without each of them."""

    adapters: AdapterSwitch | None = None
    states: States | None = None
    """Prefixes are restored from here, and saved to here."""
    prefill: PrefillContext | None = None
    """Prompts are computed here; only for a context on the CPU that can be trimmed."""
    threads: AdaptiveThreads | None = None
    """Chooses how many threads compute a step of the main context."""
    layout: KVLayout | None = None
    """Divides the KV cells anew; None: the runner has one layout for life."""
    listener: DecodeListener | None = None
    projector: Projector | None = None
    """It makes embeddings of images; None: there are none."""
    hidden_states: HiddenStateLog | None = None
    """Notes the model's hidden states, for a head that drafts; None: there is none."""
    on_device: bool = False
    """Rows of logits stay on the device that computes them, where sampling allows it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RunnerLimits:
    """The facts about a runner that its engine asks for; see `ModelRunner` for what they mean."""

    # By hand: with `slots=True` Python 3.11 can't set the attributes of a class derived from a frozen one.
    __slots__ = (
        "can_pad",
        "can_rewind",
        "can_trim",
        "forgets",
        "n_batch",
        "n_ctx",
        "n_slots",
        "n_stream",
        "n_swa",
        "n_vocab",
    )

    n_slots: int
    n_ctx: int
    n_stream: int
    n_batch: int
    n_vocab: int
    n_swa: int
    can_trim: bool
    can_rewind: bool
    can_pad: bool
    forgets: bool


class LlamaRunner(RunnerLimits):
    """Joins a context, the changes of its KV cache, a way to decode and the samplers. One thread.

    A slot is llama.cpp's sequence id. The model, the context and the parts are borrowed. Nothing of it can be
    set after construction.
    """

    __slots__ = (
        "_adapters",
        "_context",
        "_device",
        "_eog",
        "_hidden_states",
        "_images",
        "_in_use",
        "_outputs",
        "_positions",
        "_slots",
        "_strategy",
        "_vocab",
    )

    def __init__(
        self,
        context: Context,
        n_ctx: int,
        *,
        can_trim: bool,
        can_rewind: bool = False,
        parts: RunnerParts = RunnerParts(),
    ) -> None:
        """`n_ctx`: tokens that one sequence may have; llama.cpp's own limit may be a little higher.
        `can_trim`, `can_rewind`: as `warm_up` has measured it. Raises LlamaCppError if rows can't stay on
        the device."""
        model = context.model
        super().__init__(
            n_slots=context.n_seq_max,
            n_ctx=n_ctx if parts.layout is not None else min(n_ctx, context.n_ctx_seq),
            n_stream=min(n_ctx, context.n_ctx_seq),
            n_batch=min(context.n_batch, context.n_ubatch) if model.n_swa else context.n_batch,
            n_vocab=model.vocab.n_tokens,
            n_swa=model.n_swa,
            can_trim=can_trim,
            can_rewind=can_rewind and _is_worth_going_back(context, parts, can_trim=can_trim),
            can_pad=_can_pad(context, parts, can_trim=can_trim),
            forgets=context.forgets,
        )
        self._context = context
        self._vocab = model.vocab
        self._eog = frozenset(model.vocab.eog_tokens)
        self._adapters = parts.adapters
        self._in_use: Adapters = ()
        self._hidden_states = parts.hidden_states
        self._slots = KVSlots(context, parts.states, parts.prefill, parts.layout)
        self._outputs = DecodeOutputs(context, self.n_ctx, on_device=parts.on_device)
        self._device = self._outputs.device
        self._strategy = _strategy(context, self._outputs, parts, can_trim=can_trim)
        self._positions = SlotPositions(context.n_seq_max)
        self._images = (
            None
            if parts.projector is None
            else ImageStep(parts.projector, context, self._positions, parts.listener)
        )

    @property
    def n_open(self) -> int:
        """The number of sequences that have been opened and not closed."""
        return self._outputs.n_open

    # --- ModelRunner -----------------------------------------------------------------------------

    def open(
        self,
        sequence_id: int,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Sequence[int],
        n_probs: int | None = None,
        guide: object | None = None,
        *,
        after_sampling: bool = False,
    ) -> None:
        self._outputs.open(
            sequence_id, params, seed, prompt_tokens, n_probs, guide, after_sampling=after_sampling
        )

    def force(self, sequence_id: int, tokens: Sequence[int]) -> None:
        self._outputs.force(sequence_id, tokens)

    def replay(self, sequence_id: int, token: int) -> None:
        self._outputs.replay(sequence_id, token)

    def close(self, sequence_id: int) -> None:
        self._outputs.close(sequence_id)

    def run(self, batch: Batch) -> list[Output | CorralError]:
        self._slots.hold_writes(hold=any(len(entry.tokens) > LONG for entry in batch.entries))
        batch = self._positions.placed(batch)
        if batch.memory:
            self._change_memory(batch.memory)
        if batch.adapters != self._in_use:
            self._switch(batch.adapters)
        if self._device is not None:
            self._device.prepare(batch.entries)
        if batch.image is not None:
            return self._run_with_image(batch)
        return self._run_text(batch)

    def _run_text(self, batch: Batch) -> list[Output | CorralError]:
        self._outputs.prepare(batch.entries)
        try:
            return self._strategy.run(batch)
        finally:
            self._outputs.settle()

    def _run_with_image(self, batch: Batch) -> list[Output | CorralError]:
        """Compute a batch's image, then the rest; if that fails, the image is taken back."""
        image = batch.image
        assert image is not None
        assert image.image is not None
        assert self._images is not None
        n_before = image.image.start
        result = self._images.compute(image, n_before)
        at = batch.outputs.index(image)
        others = [entry for entry in batch.entries if entry is not image]
        if not others:
            return [result]
        rest = Batch([], others, batch.adapters, batch.pads, batch.rows)
        try:
            results = self._run_text(rest)
        except DecodeError as error:
            if error.status == 1 and not self._images.take_back(image, n_before):
                raise RestoreError("an image is computed again", frozenset({image.slot})) from error
            raise
        return [*results[:at], result, *results[at:]]

    def holds(self, slot: int, n_tokens: int) -> bool:
        return self._slots.holds(slot, self._positions.position(slot, n_tokens))

    def checkpoint(self, slot: int) -> memoryview | None:
        return self._slots.checkpoint(slot)

    def save(self, kept: Save) -> None:
        self._slots.save(kept)

    def copy_state(self, kept: Save) -> tuple[int, memoryview] | None:
        """Return a slot's state, see `KVSlots`."""
        return self._slots.copy_state(kept)

    def give(self, slot: int, key: str, head: PrefixHead, state: memoryview) -> None:
        """Take a state that is to be put into a slot, see `KVSlots`."""
        self._slots.give(slot, key, head, state)

    def is_eog(self, token: int) -> bool:
        return token in self._eog

    def piece(self, token: int) -> bytes:
        return self._vocab.piece(token)

    def spelling(self, token: int) -> bytes:
        return self._vocab.piece(token, special=True)

    # --- inside ----------------------------------------------------------------------------------

    def _change_memory(self, changes: Sequence[MemoryChange]) -> None:
        """Change the slots. A context that was allocated anew has neither adapters nor rows on the device."""
        anew = any(isinstance(change, Relayout) for change in changes)
        try:
            if self._hidden_states is not None:
                self._hidden_states.change(changes)
            self._slots.apply(changes)
        except RestoreError as error:
            self._positions.forget_all(tuple(error.slots))
            raise
        except ContextError as error:
            raise DecodeError(f"the KV cache can't be divided anew: {error.message}", -3) from error
        finally:
            if anew:
                self._in_use = ()
                if self._device is not None:
                    self._device.restart()

    def _switch(self, adapters: Adapters) -> None:
        if self._adapters is None:
            raise LlamaCppError("no LoRA adapter is loaded")
        self._adapters.use(self._context, adapters)
        self._in_use = adapters


def _is_worth_going_back(context: Context, parts: RunnerParts, *, can_trim: bool) -> bool:
    """Return True if states for slots to go back to are worth their copies.

    A window all of whose cells are kept wants them only for what was on the disk, or moved to another layout:
    from a GPU a copy of it takes longer than a prompt of some hundred tokens.
    """
    keeps_all = can_trim and not context.forgets
    return parts.prefill is None and (not keeps_all or context.model.n_gpu_layers == 0)


def _can_pad(context: Context, parts: RunnerParts, *, can_trim: bool) -> bool:
    """Return True if tokens of no meaning may go into any slot for a moment, where they make passes fewer.

    A window would forget for them, and what a slot holds may lie in the prefill context.
    """
    is_divided = context.n_seq_max > 1 and not context.kv_unified
    on_cpu = context.model.n_gpu_layers == 0
    return is_divided and on_cpu and can_trim and not context.model.n_swa and parts.prefill is None


def _strategy(
    context: Context, outputs: DecodeOutputs, parts: RunnerParts, *, can_trim: bool
) -> DecodeStrategy:
    """The way to decode that suits the context and the parts."""
    batch = TokenBatch(context.n_batch)
    log = parts.hidden_states
    main = ContextDecoder(context, batch, parts.listener, parts.threads, log)
    in_main: DecodeStrategy = (
        ApartDecoding(main, outputs)
        if can_trim and context.model.n_gpu_layers == 0
        else PlainDecoding(main, outputs)
    )
    if context.forgets:
        in_main = WindowDecoding(main, outputs, otherwise=in_main)
    if parts.prefill is None:
        return in_main
    prompts = ContextDecoder(parts.prefill.context, batch, parts.listener, log=log)
    if log is not None:
        log.watch(parts.prefill.context)
    return PrefillDecoding(parts.prefill, prompts, main, outputs, otherwise=in_main)
