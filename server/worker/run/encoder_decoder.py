"""`EncoderDecoderRunner`: the engine's `ModelRunner` for models with an encoder, as T5.

    engine's positions    prompt 0 … p-1                  p, p+1 …
                          │ encoded whole, and the        │
                          ▼ decoder's start token         ▼
    decoder's positions   0                               1, 2 …

llama.cpp keeps what one encoding gave in the context, for the decodes after it: so each slot is a context of
its own, and slots take turns rather than share batches. Nothing of a prompt can be shared or restored.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import CorralError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from server.engine.batch import Batch, BatchEntry, Output, Save
from server.engine.sampling_params import SamplingParams
from server.worker.run.context_decoder import DecodeListener
from server.worker.run.decode_outputs import DecodeOutputs
from server.worker.run.runner import RunnerLimits

WARM_UP_TOKENS = 4
"""The prompt of the warm-up has this many tokens."""


class EncoderDecoderRunner(RunnerLimits):
    """Gives each slot a context, which encodes the slot's prompt and decodes its answer. One thread.

    Chunks of a prompt cost nothing before the last, which encodes all of it. Nothing of it can be set after
    construction.
    """

    __slots__ = ("_batch", "_contexts", "_eog", "_listener", "_outputs", "_prompts", "_start_token", "_vocab")

    def __init__(
        self, contexts: Sequence[Context], n_ctx: int, listener: DecodeListener | None = None
    ) -> None:
        """`contexts`: one per slot, each with room for a whole prompt in one batch; borrowed. `n_ctx`: tokens
        that one sequence may have."""
        first = contexts[0]
        model = first.model
        super().__init__(
            n_slots=len(contexts),
            n_ctx=min(n_ctx, first.n_ctx_seq),
            n_stream=min(n_ctx, first.n_ctx_seq),
            n_batch=max(first.n_batch, len(contexts) + 1),
            n_vocab=model.vocab.n_tokens,
            n_swa=model.n_swa,
            can_pad=False,
            can_trim=False,
            can_rewind=False,
            forgets=False,
        )
        self._contexts = list(contexts)
        self._listener = listener
        self._vocab = model.vocab
        self._eog = frozenset(model.vocab.eog_tokens)
        self._batch = TokenBatch(first.n_batch)
        self._outputs = DecodeOutputs(first, self.n_ctx)
        start = model.decoder_start_token
        self._start_token = (model.vocab.bos or 0) if start is None else start
        self._prompts: dict[int, list[int]] = {}

    def warm_up(self) -> None:
        """Compute once in each context, then forget it: a bad build crashes here. Raises DecodeError."""
        for context in self._contexts:
            self._encode(context, [self._start_token] * WARM_UP_TOKENS)
            self._decode(context, [self._start_token], 0)
            context.clear()

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
        self._prompts[sequence_id] = list(prompt_tokens)

    def force(self, sequence_id: int, tokens: Sequence[int]) -> None:
        self._outputs.force(sequence_id, tokens)

    def replay(self, sequence_id: int, token: int) -> None:
        self._outputs.replay(sequence_id, token)

    def close(self, sequence_id: int) -> None:
        self._outputs.close(sequence_id)
        self._prompts.pop(sequence_id, None)

    def run(self, batch: Batch) -> list[Output | CorralError]:
        """Compute the entries one by one. Changes of the KV cache are moot: an encoding empties its slot."""
        results: list[Output | CorralError] = []
        self._outputs.prepare(batch.entries)
        try:
            for entry in batch.entries:
                results += self._run_one(entry, self._contexts[entry.slot])
        finally:
            self._outputs.settle()
        return results

    def holds(self, slot: int, n_tokens: int) -> bool:  # noqa: ARG002 - a `ModelRunner`'s
        """True: there is no sliding window that could have forgotten anything."""
        return True

    def checkpoint(self, slot: int) -> memoryview | None:  # noqa: ARG002 - a `ModelRunner`'s
        """Return None: a slot's encoding has no prefix to go back to."""
        return None

    def save(self, kept: Save) -> None:
        """Do nothing: a prompt's encoding can't be kept."""

    def is_eog(self, token: int) -> bool:
        return token in self._eog

    def piece(self, token: int) -> bytes:
        return self._vocab.piece(token)

    def spelling(self, token: int) -> bytes:
        return self._vocab.piece(token, special=True)

    # --- inside ----------------------------------------------------------------------------------

    def _run_one(self, entry: BatchEntry, context: Context) -> list[Output | CorralError]:
        prompt = self._prompts[entry.sequence_id]
        tokens, position = entry.tokens, entry.position + 1 - len(prompt)
        if position + len(tokens) <= 0:
            return []  # there is more of the prompt to come
        if position <= 0:
            context.clear()
            self._encode(context, prompt)
            tokens, position = [self._start_token, *tokens[1 - position :]], 0
        self._decode(context, tokens, position)
        if self._listener is not None:
            self._listener.decoded()
        places = [(entry, 0, len(tokens) - 1)] if entry.n_outputs else []
        return self._outputs.read(places, 1, context)

    def _encode(self, context: Context, tokens: list[int]) -> None:
        self._batch.clear()
        self._batch.add_many(tokens, 0, 0, output_last=True)
        context.encode(self._batch)

    def _decode(self, context: Context, tokens: list[int], position: int) -> None:
        self._batch.clear()
        self._batch.add_many(tokens, position, 0, output_last=True)
        context.decode(self._batch)
