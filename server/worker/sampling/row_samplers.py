"""RowSamplers: every sequence's way of choosing tokens, for all rows of logits of a step at once.

Called by LlamaRunner. What llama.cpp's chain would choose for a seed is chosen here, too: from a few
candidates of each row where that can be done, by the chain itself otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.errors import CorralError, LlamaCppError, RequestError
from models.llamacpp.context import Context
from models.llamacpp.vocab import Vocab
from server.engine.sampling_params import SamplingParams
from server.worker.sampling.candidates import Floats, FoldedRows
from server.worker.sampling.chain_params import sampler_params
from server.worker.sampling.penalties import Penalties, penalize
from server.worker.sampling.sequence_sampler import SequenceSampler


class Wanted(NamedTuple):
    """The tokens wanted of one sequence: one after each row from `row` to `row + len(draft)` of the logits.

    `index`: the first row's token in llama.cpp's batch. Row i + 1 is what follows `draft[i]`. `ban_eog`: none
    of the tokens may end the answer.
    """

    sequence_id: int
    row: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    draft: list[int]
    ban_eog: bool


class RowSamplers:
    """One SequenceSampler for each open sequence. One thread; `close` frees a sequence's."""

    def __init__(self, vocab: Vocab, n_ctx: int) -> None:
        """`n_ctx`: how far DRY looks back if the request doesn't say."""
        self._vocab = vocab
        self._n_ctx = n_ctx
        self._sequences: dict[int, SequenceSampler] = {}
        self._generator = np.random.RandomState(0)  # llama.cpp's generator and seeding
        self._eog_ids = np.array(vocab.eog_tokens, np.intp)
        self._suppressed_ids = np.array(vocab.suppressed_tokens, np.intp)
        self._suppresses = len(self._suppressed_ids) > 0

    def open(self, sequence_id: int, params: SamplingParams, seed: int, prompt_tokens: Sequence[int]) -> None:
        """Get ready to sample a sequence. Raises RequestError naming the parameter that is wrong."""
        self._sequences[sequence_id] = SequenceSampler(
            self._vocab, sampler_params(params, seed, self._n_ctx), prompt_tokens, self._generator
        )

    def close(self, sequence_id: int) -> None:
        """Forget a sequence; one that isn't open is no error."""
        sampler = self._sequences.pop(sequence_id, None)
        if sampler is not None:
            sampler.close()

    def sample(
        self, context: Context, logits: Floats, wanted: Sequence[Wanted]
    ) -> list[list[int] | CorralError]:
        """For each of `wanted` 1 to len(draft) + 1 tokens: those of its draft that are chosen, then one more.

        `logits` [R, V] f32 is llama.cpp's own memory; bans, biases and penalties are written into it. A row
        whose maximum isn't finite gives an error for its sequence alone.
        """
        samplers: list[SequenceSampler] = []
        bans, adjusts = self._suppresses, False
        for each in wanted:
            sampler = self._sequences[each.sequence_id]
            samplers.append(sampler)
            bans = bans or each.ban_eog
            adjusts = adjusts or sampler.adjusts
        if bans:
            self._ban(logits, wanted)
        if adjusts:
            _adjust(logits, wanted, samplers)
        folded = _fold(logits, samplers)
        answers: list[list[int] | CorralError] = []
        for each, sampler in zip(wanted, samplers, strict=True):
            if sampler.chain is not None:
                answers.append(_sample_by_chain(context, logits, each, sampler))
            elif each.draft:
                answers.append(_sample_draft(logits, each, sampler, folded))
            else:
                token = sampler.pick(logits, each.row, folded)
                if token is None:
                    answers.append(_not_finite(logits[each.row], sampler))
                else:
                    sampler.accept(token)
                    answers.append([token])
        return answers

    def _ban(self, logits: Floats, wanted: Sequence[Wanted]) -> None:
        if self._suppresses:
            logits[:, self._suppressed_ids] = -np.inf
        rows = [row for each in wanted if each.ban_eog for row in _rows(each)]
        if len(rows) == len(logits):
            logits[:, self._eog_ids] = -np.inf
        elif rows:
            logits[np.array(rows)[:, None], self._eog_ids] = -np.inf


def _rows(wanted: Wanted) -> range:
    return range(wanted.row, wanted.row + len(wanted.draft) + 1)


def _adjust(logits: Floats, wanted: Sequence[Wanted], samplers: Sequence[SequenceSampler]) -> None:
    """Add biases to all rows and penalties to each first one: a draft's others depend on its tokens."""
    rows: list[int] = []
    penalties: list[Penalties] = []
    for each, sampler in zip(wanted, samplers, strict=True):
        if sampler.has_bias:
            sampler.add_biases(logits[each.row : each.row + len(each.draft) + 1])
        if sampler.penalties is not None:
            rows.append(each.row)
            penalties.append(sampler.penalties)
    if rows:
        penalize(logits, rows, penalties)


def _fold(logits: Floats, samplers: Sequence[SequenceSampler]) -> FoldedRows | None:
    """All rows, if most are to be folded, and alike; None: each for itself."""
    kinds = [sampler.limits.n_lines for sampler in samplers if sampler.limits.n_lines > 0]
    if 2 * len(kinds) < len(samplers) or len(set(kinds)) != 1:
        return None
    return FoldedRows(logits, kinds[0])


def _sample_draft(
    logits: Floats, wanted: Wanted, sampler: SequenceSampler, folded: FoldedRows | None
) -> list[int] | CorralError:
    tokens: list[int] = []
    for row in _rows(wanted):
        if tokens and sampler.penalties is not None:
            penalize(logits, [row], [sampler.penalties])
            folded = None
        token = sampler.pick(logits, row, folded)
        if token is None:
            return _not_finite(logits[row], sampler)
        tokens.append(token)
        sampler.accept(token)
        if tokens != wanted.draft[: len(tokens)]:
            break
    return tokens


def _sample_by_chain(
    context: Context, logits: Floats, wanted: Wanted, sampler: SequenceSampler
) -> list[int] | CorralError:
    assert sampler.chain is not None
    tokens: list[int] = []
    for row in _rows(wanted):
        if not np.isfinite(logits[row].max()):
            return _not_finite(logits[row], sampler)
        tokens.append(sampler.chain.sample(context, wanted.index + len(tokens)))
        if tokens != wanted.draft[: len(tokens)]:
            break
    return tokens


def _not_finite(row: Floats, sampler: SequenceSampler) -> CorralError:
    if sampler.has_bias and row.max() == -np.inf:
        return RequestError("logit_bias bans every token; leave at least one", "logit_bias")
    return LlamaCppError(
        "the model's logits aren't finite; its weights are damaged or its file was quantized "
        "too far: quantize or pull it again"
    )
