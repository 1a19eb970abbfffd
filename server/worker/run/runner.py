"""LlamaRunner: the engine's `ModelRunner` on llama.cpp."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Tokens
from typing import Protocol

from models.errors import CorralError, DecodeError, LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from server.engine.batch import Adapters, Batch, BatchEntry, Copy, Output, Save
from server.engine.sampling_params import SamplingParams
from server.worker.run.adaptive_threads import ThreadChoice
from server.worker.run.decode_outputs import Place, RowResults
from server.worker.run.kv_slots import SlotMemory, States
from server.worker.run.prefill_context import PromptSide

WARM_UP_TOKENS = 64
WARM_UP_SEQUENCES = 4
FEW_TOKENS = 32
"""A batch of so many is one of sequences that generate."""


def _is_chunk(entry: BatchEntry) -> bool:
    """A part of a prompt without a result."""
    return not entry.n_outputs and entry.targets is None and len(entry.tokens) > 1


class AdapterSwitch(Protocol):
    """Puts a set of LoRA adapters to work in a context."""

    def use(self, context: Context, adapters: Adapters) -> None:
        """Make `adapters` those of the following decodes. Raises LlamaCppError."""


class LlamaRunner:
    """Joins a Context, its batch and the samplers. One thread; `close` ends a sequence's sampler.

    A slot is llama.cpp's sequence id. The model and the context are borrowed.
    """

    def __init__(
        self,
        context: Context,
        n_ctx: int,
        adapters: AdapterSwitch | None = None,
    ) -> None:
        """`n_ctx`: tokens that one sequence may have; llama.cpp's own limit may be a little higher."""
        vocab = context.model.vocab
        self.n_slots = context.n_seq_max
        self.n_ctx = min(n_ctx, context.n_ctx_seq)
        self.n_batch = context.n_batch
        self.n_vocab = vocab.n_tokens
        self.n_swa = context.model.n_swa
        self.can_trim = False
        self._takes_apart = False
        self._side: PromptSide | None = None
        self.on_decoded: Callable[[], None] | None = None
        """Called after each decode, before tokens are chosen."""
        self._memory = SlotMemory(context)
        self._context = context
        self._vocab = vocab
        self._batch = TokenBatch(context.n_batch)
        self._results = RowResults(context, self.n_ctx, self.shown)
        self._eog = frozenset(vocab.eog_tokens)
        self._adapters = adapters
        self._in_use: Adapters = ()
        self._n_threads = context.n_threads
        on_cpu = context.model.n_gpu_layers == 0 and context.n_threads > 1
        self._choice = ThreadChoice(context.n_threads) if on_cpu else None

    def warm_up(self) -> None:
        """Compute what a server computes, then forget it: a build that crashes does it here.

        Also finds out whether this model's cache can be trimmed. Raises DecodeError.
        """
        token = self._vocab.bos or 0
        n_sequences = min(WARM_UP_SEQUENCES, self.n_slots)
        n_prompt = max(1, min(WARM_UP_TOKENS, self.n_ctx - 4, self.n_batch // n_sequences))
        self._decode_same([token] * n_prompt, 0, 1)
        self._decode_same([token], n_prompt, 1)
        self.can_trim = self._context.seq_rm(0, n_prompt, None)
        self._takes_apart = self.can_trim and self._context.model.n_gpu_layers == 0
        self._context.clear()
        for position in range(3):
            self._decode_same([token], position, n_sequences)
        self._context.clear()

    def _decode_same(self, tokens: list[int], position: int, n_sequences: int) -> None:
        self._batch.clear()
        for slot in range(n_sequences):
            self._batch.add_many(tokens, position, slot, output_last=True)
        self._context.decode(self._batch)

    # --- ModelRunner -----------------------------------------------------------------------------

    def open(
        self,
        sequence_id: int,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Tokens[int],
        n_probs: int | None = None,
    ) -> None:
        self._results.open(sequence_id, params, seed, prompt_tokens, n_probs)

    def close(self, sequence_id: int) -> None:
        self._results.close(sequence_id)

    def run(self, batch: Batch) -> list[Output | CorralError]:
        if batch.memory:
            self._memory.apply(batch.memory)
        if batch.adapters != self._in_use:
            self._switch(batch.adapters)
        entries = batch.entries
        if self._results.device is not None:
            self._results.device.prepare(entries)
        if self._side is not None:
            over = self._side_entries(batch, self._side)
            if over:
                return self._run_both(batch, over, self._side)
        if self._takes_apart and len(entries) > 1:
            prompts = [entry for entry in entries if _is_chunk(entry)]
            if prompts and len(prompts) < len(entries):
                return self._run_apart(prompts, [entry for entry in entries if not _is_chunk(entry)])
        places, n_rows = self._decode(entries, self._context)
        return self._results.of(places, n_rows, self._context)

    def _side_entries(self, batch: Batch, side: PromptSide) -> list[BatchEntry]:
        """The chunks that are computed on the prompt side, which is made ready for them.

        A copy between streams is made with the next decode of the main context, so what it fills can't move.
        """
        over: list[BatchEntry] = []
        if not batch.adapters and batch.n_tokens > len(batch.entries):
            copied = {change.target for change in batch.memory if isinstance(change, Copy)}
            for entry in batch.entries:
                if side.takes(entry) and entry.slot not in copied:
                    side.prepare(entry)
                    over.append(entry)
        if side.holds_any:
            taken = {entry.slot for entry in over}
            for entry in batch.entries:
                if entry.slot not in taken:
                    side.move(entry.slot)
        return over

    def _run_both(self, batch: Batch, over: list[BatchEntry], side: PromptSide) -> list[Output | CorralError]:
        """Chunks of prompts on their side, all else in the main context: one step to the engine."""
        taken = {entry.slot for entry in over}
        rest = [entry for entry in batch.entries if entry.slot not in taken]
        try:
            places, n_rows = self._decode(over, side.context)
            rest_places, n_rest_rows = self._decode(rest, self._context) if rest else ([], 0)
        except DecodeError:
            for entry in over:
                side.take_back(entry)
            raise
        results = self._results.of(places, n_rows, side.context)
        results += self._results.of(rest_places, n_rest_rows, self._context)
        for entry, _, _ in places:
            side.move(entry.slot)
        by_id = {
            entry.sequence_id: result
            for (entry, _, _), result in zip([*places, *rest_places], results, strict=True)
        }
        return [by_id[entry.sequence_id] for entry in batch.outputs]

    def _run_apart(self, prompts: list[BatchEntry], others: list[BatchEntry]) -> list[Output | CorralError]:
        """Chunks of prompts, which have no results, then all else: two decodes that are one to the engine.

        On a CPU a few tokens beside a chunk cost more than by themselves, as they break the sizes that
        kernels work in.
        """
        self._decode(prompts, self._context)
        try:
            places, n_rows = self._decode(others, self._context)
        except DecodeError:
            for entry in prompts:
                self._context.seq_rm(entry.slot, entry.position, None)
            raise
        return self._results.of(places, n_rows, self._context)

    def _decode(self, entries: list[BatchEntry], context: Context) -> tuple[list[Place], int]:
        """Compute `entries`: those with results, each with its first row of logits and its first index in
        the batch, and the number of rows."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        outputs: list[int] = []
        places: list[Place] = []
        n_rows = 0
        for entry in entries:
            n = len(entry.tokens)
            n_out = n if entry.targets is not None else entry.n_outputs
            if n_out:
                places.append((entry, n_rows, len(tokens) + n - n_out))
                n_rows += n_out
            tokens += entry.tokens
            if n == 1:
                positions.append(entry.position)
                slots.append(entry.slot)
                outputs.append(n_out)
            else:
                positions += range(entry.position, entry.position + n)
                slots += [entry.slot] * n
                outputs += [0] * (n - n_out) + [1] * n_out
        self._batch.fill(tokens, positions, slots, outputs)
        if self._choice is not None and context is self._context:
            self._decode_timed(self._choice, len(tokens))
        else:
            context.decode(self._batch)
        if self.on_decoded is not None:
            self.on_decoded()
        return places, n_rows

    def _decode_timed(self, choice: ThreadChoice, n_tokens: int) -> None:
        """Decode in the main context, few tokens with as many threads as are quickest just now."""
        context = self._context
        threads = choice.threads if n_tokens <= FEW_TOKENS else context.n_threads
        if threads != self._n_threads:
            batch = context.n_threads_batch if threads == context.n_threads else threads
            context.set_n_threads(threads, batch)
            self._n_threads = threads
        start_s = time.monotonic()
        context.decode(self._batch)
        if n_tokens <= FEW_TOKENS:
            now_s = time.monotonic()
            choice.took(n_tokens, now_s - start_s, now_s)

    def use_side(self, side: PromptSide) -> None:
        """Compute prompts over there from now on."""
        self._side = self._memory.side = side

    def use_device(self) -> bool:
        """Leave rows of logits on the device from now on, where sampling allows it; False if it can't."""
        return self._results.use_device()

    def leave_device(self) -> None:
        """Bring all rows of logits to the host again."""
        self._results.leave_device()

    def use_states(self, states: States) -> None:
        """Restore prefixes from, and save them to, `states`."""
        self._memory.states = states

    def holds(self, slot: int, n_tokens: int) -> bool:
        return self._memory.holds(slot, n_tokens)

    def save(self, kept: Save) -> None:
        self._memory.save(kept)

    def is_eog(self, token: int) -> bool:
        return token in self._eog

    def piece(self, token: int) -> bytes:
        return self._vocab.piece(token)

    def shown(self, token: int) -> bytes:
        return self._vocab.piece(token, special=True)

    # --- inside ----------------------------------------------------------------------------------

    def _switch(self, adapters: Adapters) -> None:
        if self._adapters is None:
            raise LlamaCppError("no LoRA adapter is loaded")
        self._adapters.use(self._context, adapters)
        self._in_use = adapters
