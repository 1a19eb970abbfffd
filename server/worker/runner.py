"""LlamaRunner: the engine's `ModelRunner` on llama.cpp."""

from __future__ import annotations

import math
from collections.abc import Sequence as Tokens

import numpy as np
import numpy.typing as npt

from models.errors import CorralError, LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.sampler import Sampler
from models.llamacpp.sampler_params import SamplerParams
from server.engine.batch import Batch, BatchEntry, Copy
from server.engine.sampling_params import SamplingParams

WARM_UP_TOKENS = 64
WARM_UP_SEQUENCES = 4


class LlamaRunner:
    """Joins a Context, its batch and one sampler per sequence. One thread; `close` frees the samplers.

    A slot is llama.cpp's sequence id. The model and the context are borrowed.
    """

    def __init__(self, context: Context, n_ctx: int) -> None:
        """`n_ctx`: tokens that one sequence may have; llama.cpp's own limit may be a little higher."""
        vocab = context.model.vocab
        self.n_slots = context.n_seq_max
        self.n_ctx = min(n_ctx, context.n_ctx_seq)
        self.n_batch = context.n_batch
        self.n_vocab = vocab.n_tokens
        self.can_trim = False
        self._context = context
        self._vocab = vocab
        self._batch = TokenBatch(context.n_batch)
        self._samplers: dict[int, Sampler | None] = {}
        self._eog = frozenset(vocab.eog_tokens)
        self._eog_ids = np.array(vocab.eog_tokens, np.intp)
        self._suppressed_ids = np.array(vocab.suppressed_tokens, np.intp)

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

    def open(self, sequence_id: int, params: SamplingParams, seed: int, prompt_tokens: Tokens[int]) -> None:
        chain_params = sampler_params(params, seed, self.n_ctx)
        chain_params.check(self.n_vocab)
        if chain_params.is_argmax:
            self._samplers[sequence_id] = None
            return
        chain = Sampler.chain(self._vocab, chain_params)
        self._samplers[sequence_id] = chain
        if chain_params.needs_prompt:
            n_seen = max(
                chain_params.repeat_last_n if chain_params.has_penalties else 0,
                chain_params.dry_penalty_last_n if chain_params.has_dry else 0,
            )
            for token in prompt_tokens[max(0, len(prompt_tokens) - n_seen) :]:
                chain.accept(token)

    def close(self, sequence_id: int) -> None:
        chain = self._samplers.pop(sequence_id, None)
        if chain is not None:
            chain.close()

    def run(self, batch: Batch) -> list[int | CorralError]:
        context, native = self._context, self._batch
        for change in batch.memory:
            if isinstance(change, Copy):
                self._copy(change)
            else:
                context.seq_rm(change.slot, change.n_keep, None)
        native.clear()
        outputs: list[tuple[BatchEntry, int]] = []
        for entry in batch.entries:
            if len(entry.tokens) == 1:
                last = native.add(entry.tokens[0], entry.position, entry.slot, entry.wants_output)
            else:
                last = native.add_many(
                    entry.tokens, entry.position, entry.slot, output_last=entry.wants_output
                )
            if entry.wants_output:
                outputs.append((entry, last))
        context.decode(native)
        rows = context.logits() if outputs else None
        return (
            []
            if rows is None
            else [self._sample(entry, index, row) for (entry, index), row in zip(outputs, rows, strict=True)]
        )

    def is_eog(self, token: int) -> bool:
        return token in self._eog

    def piece(self, token: int) -> bytes:
        return self._vocab.piece(token)

    # --- inside ----------------------------------------------------------------------------------

    def _copy(self, change: Copy) -> None:
        if self._context.kv_unified:
            self._context.seq_rm(change.target)
        self._context.seq_cp(change.source, change.target, 0, change.n_tokens)

    def _sample(self, entry: BatchEntry, index: int, row: npt.NDArray[np.float32]) -> int | CorralError:
        """The next token. `row` is llama.cpp's own memory: what is banned is banned in it."""
        if entry.ban_eog:
            row[self._eog_ids] = -np.inf
        if len(self._suppressed_ids):
            row[self._suppressed_ids] = -np.inf
        best = int(row.argmax())
        if not math.isfinite(row[best]):
            return LlamaCppError(
                "the model's logits aren't finite; its weights are damaged or its file was quantized "
                "too far: quantize or pull it again"
            )
        chain = self._samplers[entry.sequence_id]
        return best if chain is None else chain.sample(self._context, index)


def sampler_params(params: SamplingParams, seed: int, n_ctx: int) -> SamplerParams:
    """A request's sampling as the chain takes it."""
    return SamplerParams(
        temperature=params.temperature,
        dynatemp_range=params.dynatemp_range,
        dynatemp_exponent=params.dynatemp_exponent,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        typical_p=params.typical_p,
        top_n_sigma=-1.0 if params.top_n_sigma is None else params.top_n_sigma,
        xtc_probability=params.xtc_probability,
        xtc_threshold=params.xtc_threshold,
        repeat_penalty=params.repeat_penalty,
        repeat_last_n=params.repeat_last_n,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        dry_multiplier=params.dry_multiplier,
        dry_base=params.dry_base,
        dry_allowed_length=params.dry_allowed_length,
        dry_penalty_last_n=n_ctx if params.dry_penalty_last_n is None else params.dry_penalty_last_n,
        dry_sequence_breakers=params.dry_sequence_breakers,
        mirostat=params.mirostat,
        mirostat_tau=params.mirostat_tau,
        mirostat_eta=params.mirostat_eta,
        seed=seed,
        logit_bias=params.logit_bias,
    )
