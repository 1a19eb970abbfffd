"""RowSamplers: choose the tokens of all rows of logits of a step at once.

Called by DecodeOutputs. A seed gives the tokens that llama.cpp's chain would give, whichever way `fast_path`
chooses: the chain itself, over the whole row or over the few candidates that NumPy finds for all rows
together, or NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import CorralError
from models.llamacpp.candidates import CandidateBuffer
from models.llamacpp.context import Context
from models.llamacpp.vocab import Vocab
from server.engine.resumption import cannot_resume
from server.engine.sampling_params import SamplingParams
from server.worker.sampling.candidates import find_candidates
from server.worker.sampling.chain import ADJUSTERS
from server.worker.sampling.sequence_guide import SequenceGuide
from server.worker.sampling.sequence_sampler import SequenceSampler
from server.worker.sampling.steps.step import Adjuster, Floats


class RowRequest(NamedTuple):
    """The tokens wanted of one sequence: one after each row from `row` to `row + len(draft)` of the logits.

    `index` is the first row's token in llama.cpp's batch. Row i + 1 is what follows `draft[i]`. With
    `ban_eog` none of the tokens may end the answer.
    """

    sequence_id: int
    row: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    draft: list[int]
    ban_eog: bool


class RowSamplers:
    """One SequenceSampler for each open sequence. One thread; `close` frees a sequence's."""

    def __init__(self, vocab: Vocab, n_ctx: int) -> None:
        """`n_ctx`: tokens of a sequence, which a look-back without a limit goes back."""
        self._vocab = vocab
        self._n_ctx = n_ctx
        self._sequences: dict[int, SequenceSampler] = {}
        self._generator = np.random.RandomState(0)  # llama.cpp's generator and seeding
        self._eog = vocab.eog_tokens
        self._eog_ids = np.array(vocab.eog_tokens, np.intp)
        self._suppressed_ids = np.array(vocab.suppressed_tokens, np.intp)
        self._suppresses = len(self._suppressed_ids) > 0
        self._buffer = CandidateBuffer()
        self._row_buffer = CandidateBuffer()

    def __len__(self) -> int:
        """The number of open sequences."""
        return len(self._sequences)

    def open(
        self,
        sequence_id: int,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Sequence[int],
        guide: SequenceGuide | None = None,
    ) -> None:
        """Prepare to sample a sequence. Raises RequestError naming the parameter that is wrong."""
        self._sequences[sequence_id] = SequenceSampler(
            self._vocab, params, seed, prompt_tokens, self._n_ctx, self._generator, guide
        )

    def guide(self, sequence_id: int, guide: SequenceGuide) -> None:
        """Put a guide to an open sequence that has none."""
        self._sequences[sequence_id].guide = guide

    def replay(self, sequence_id: int, token: int) -> None:
        """Take `token` as the next one, which a sampler like this has chosen, or its guide has forced.

        Raises RequestError for one that the guide doesn't allow.
        """
        sampler = self._sequences[sequence_id]
        guide = sampler.guide
        if guide is not None and guide.has_forced:
            if guide.take() != token:
                raise cannot_resume("its grammar leaves another token there")
            sampler.count(token)
            return
        sampler.replay(token)
        if guide is not None and guide.consume(token) is not None:
            raise cannot_resume("its grammar doesn't allow a token of it there")

    def close(self, sequence_id: int) -> None:
        """Forget a sequence; one that isn't open is no error."""
        sampler = self._sequences.pop(sequence_id, None)
        if sampler is not None:
            sampler.close()

    def sample(
        self, context: Context | None, logits: Floats, wanted: Sequence[RowRequest]
    ) -> list[list[int] | CorralError]:
        """Return 1 to len(draft) + 1 tokens for each of `wanted`: its draft's that are chosen, then one more.

        `logits` [R, V] f32 is the memory of `context`; bans and adjustments are written into it. A row
        whose maximum isn't finite gives an error for its sequence alone. Without a context only what needs
        no chain over a whole row can be sampled.
        """
        if (
            len(wanted) == 1
            and context is not None
            and not wanted[0].draft
            and not self._sequences[wanted[0].sequence_id].is_guided
        ):
            return [self._sample_alone(context, logits, wanted[0])]
        samplers: list[SequenceSampler] = []
        bans, adjusts, guided = self._suppresses, False, False
        rows: list[int] = []  # those sampled from candidates
        owners: list[SequenceSampler] = []
        for each in wanted:
            sampler = self._sequences[each.sequence_id]
            samplers.append(sampler)
            bans = bans or each.ban_eog
            if sampler.adjusters:
                adjusts = True
            if sampler.is_guided:
                guided = True
            if sampler.way == "candidates":
                for row in _rows(each):
                    rows.append(row)
                    owners.append(sampler)
        if guided:
            wanted = self._ban_guided(logits, wanted, samplers)
        if bans:
            self._ban(logits, wanted)
        if adjusts:
            _adjust(logits, wanted, samplers)
        pool = _Pool(self._buffer, logits, rows, owners) if rows else None
        return [
            self._sample_one(context, logits, each, sampler, pool)
            for each, sampler in zip(wanted, samplers, strict=True)
        ]

    def fits(self, sequence_id: int, k: int, ban_eog: bool) -> bool:
        """Return True if `sample_largest` can sample a sequence from `k` entries of each row."""
        n_banned = len(self._suppressed_ids) + (len(self._eog) if ban_eog else 0)
        return self._sequences[sequence_id].fits(k - n_banned)

    def sample_largest(
        self, ids: npt.NDArray[np.int32], logits: Floats, wanted: Sequence[RowRequest]
    ) -> list[list[int] | CorralError]:
        """Return the token of each of `wanted` from its row's k largest: ids, logits [R, k], in any order.

        They are those that `sample` chooses from the whole rows, for sequences that fit. Bans are written
        into copies.
        """
        order = ids.argsort(axis=1)
        ids = np.take_along_axis(ids, order, 1)
        logits = np.take_along_axis(logits, order, 1)
        self._ban_largest(ids, logits, wanted)
        places = logits.argmax(axis=1).tolist()  # of a NaN, if there is one
        k = ids.shape[1]
        self._buffer.fill(ids.reshape(-1), logits.reshape(-1))
        results: list[list[int] | CorralError] = []
        for row, each in enumerate(wanted):
            sampler = self._sequences[each.sequence_id]
            place = places[row]
            if not isfinite(logits[row, place]):
                results.append(sampler.error(logits[row]))
            elif sampler.chain is None:
                results.append([int(ids[row, place])])
            else:
                results.append([self._buffer.sample(sampler.chain, row * k, row * k + k)])
        return results

    def _ban_largest(self, ids: npt.NDArray[np.int32], logits: Floats, wanted: Sequence[RowRequest]) -> None:
        if self._suppresses:
            logits[np.isin(ids, self._suppressed_ids)] = -np.inf
        rows = [row for row, each in enumerate(wanted) if each.ban_eog]
        if rows:
            logits[rows] = np.where(np.isin(ids[rows], self._eog_ids), -np.inf, logits[rows])

    def _sample_alone(self, context: Context, logits: Floats, wanted: RowRequest) -> list[int] | CorralError:
        """Sample one row by itself: the chain over the whole row is quicker than finding candidates first."""
        sampler = self._sequences[wanted.sequence_id]
        row = logits[wanted.row]
        if self._suppresses:
            row[self._suppressed_ids] = -np.inf
        if wanted.ban_eog:
            for token in self._eog:
                row[token] = -np.inf
        if sampler.adjusters:
            _adjust(logits, [wanted], [sampler])
        picked: int | None = None
        if sampler.chain is None:
            picked = sampler.pick_of_row(row)
        elif isfinite(_highest(row)):
            picked = sampler.chain.sample(context, wanted.index)
        if picked is None:
            return sampler.error(row)
        sampler.accept(picked)
        return [picked]

    def _sample_one(
        self,
        context: Context | None,
        logits: Floats,
        wanted: RowRequest,
        sampler: SequenceSampler,
        pool: _Pool | None,
    ) -> list[int] | CorralError:
        """Return the tokens of one sequence: row by row, until one isn't the draft's."""
        if sampler.is_guided:
            return self._sample_guided(logits, wanted, sampler, pool)
        tokens: list[int] = []
        changing = sampler.changing
        for row in _rows(wanted):
            if tokens and changing:
                for adjuster in changing:
                    adjuster.adjust(logits, [row], [adjuster])
                if pool is not None:
                    pool = _Pool(self._row_buffer, logits, [row], [sampler])
            if sampler.chain is None:
                token = sampler.pick_of_row(logits[row])
            elif sampler.way == "chain":
                assert context is not None
                finite = isfinite(_highest(logits[row]))
                token = sampler.chain.sample(context, wanted.index + len(tokens)) if finite else None
            else:
                assert pool is not None
                token = pool.pick(row, sampler)
            if token is None:
                return sampler.error(logits[row])
            tokens.append(token)
            if changing:
                sampler.accept(token)
            if not wanted.draft or tokens != wanted.draft[: len(tokens)]:
                break
        return tokens

    def _sample_guided(
        self, logits: Floats, wanted: RowRequest, sampler: SequenceSampler, pool: _Pool | None
    ) -> list[int] | CorralError:
        """Do as `_sample_one`, under a grammar: what it forces is taken, else what it allows is chosen."""
        guide, changing = sampler.guide, sampler.changing
        assert guide is not None
        bans = guide.bans
        tokens: list[int] = []
        for n_before, row in enumerate(_rows(wanted)):
            if guide.error is not None:
                return guide.error
            if guide.has_forced:
                token = guide.take()
                sampler.count(token)
            elif guide.matcher is not None and n_before >= len(bans):
                break  # forced tokens came first, so nothing is known of this row
            else:
                if tokens and changing:
                    for adjuster in changing:
                        adjuster.adjust(logits, [row], [adjuster])
                    if pool is not None:
                        pool = _Pool(self._row_buffer, logits, [row], [sampler])
                picked = self._pick_allowed(logits[row], row, sampler, pool)
                if picked is None:
                    is_empty = _highest(logits[row]) == -np.inf
                    return guide.nothing_left() if is_empty else sampler.error(logits[row])
                token = picked
                sampler.accept(token)
                if (error := guide.consume(token)) is not None:
                    return error
            tokens.append(token)
            if guide.is_over or not wanted.draft or tokens != wanted.draft[: len(tokens)]:
                break
        return tokens

    def _pick_allowed(
        self, row: Floats, place: int, sampler: SequenceSampler, pool: _Pool | None
    ) -> int | None:
        """Return a token that isn't banned in an adjusted row of logits [V], which is row `place`."""
        if sampler.chain is None:
            token = sampler.pick_of_row(row)
            if token is not None and row[token] == -np.inf:  # a sum was rounded
                return int(row.argmax())
            return token
        if sampler.way == "candidates":
            assert pool is not None
            return pool.pick(place, sampler)
        if not isfinite(_highest(row)):
            return None
        allowed = (row > -np.inf).nonzero()[0]  # llama.cpp's own samplers take no infinite logits
        self._row_buffer.fill(allowed, row[allowed])
        token = self._row_buffer.sample(sampler.chain, 0, len(allowed))
        sampler.chain.accept(token)
        return token

    def forced(self, sequence_id: int) -> list[int]:
        """Return the tokens that are forced after the last one, without rows of logits; they are counted."""
        sampler = self._sequences[sequence_id]
        if sampler.guide is None:
            return []
        tokens = sampler.guide.take_at_once()
        for token in tokens:
            sampler.count(token)
        return tokens

    def _ban_guided(
        self, logits: Floats, wanted: Sequence[RowRequest], samplers: Sequence[SequenceSampler]
    ) -> list[RowRequest]:
        """Ban what grammars don't allow. Where one allows nothing but the end, that isn't to be banned."""
        results: list[RowRequest] = []
        for each, sampler in zip(wanted, samplers, strict=True):
            bans = () if sampler.guide is None else sampler.guide.bans
            ban_eog = each.ban_eog
            for row, banned in zip(_rows(each), bans, strict=False):
                banned.ban(logits[row])
                if ban_eog and not banned.allow_besides(self._eog_ids, logits.shape[1]):
                    ban_eog = False
            results.append(each if ban_eog is each.ban_eog else each._replace(ban_eog=ban_eog))
        return results

    def _ban(self, logits: Floats, wanted: Sequence[RowRequest]) -> None:
        if self._suppresses:
            logits[:, self._suppressed_ids] = -np.inf
        rows = [row for each in wanted if each.ban_eog for row in _rows(each)]
        if len(rows) == len(logits):
            for token in self._eog:
                logits[:, token] = -np.inf
        elif rows:
            logits[np.array(rows)[:, None], self._eog_ids] = -np.inf


_highest = np.maximum.reduce  # of a row; NaN if it has one


class _Pool:
    """The candidates of some rows, in a buffer of which nothing else is needed meanwhile."""

    def __init__(
        self, buffer: CandidateBuffer, logits: Floats, rows: list[int], owners: list[SequenceSampler]
    ) -> None:
        """`owners[i]` will pick from row `rows[i]` of logits [R, V]; rows ascend."""
        first = rows[0]
        adjacent = rows[-1] - first + 1 == len(rows)
        block = logits[first : first + len(rows)] if adjacent else logits[rows]
        ids, values, ends = find_candidates(block, [owner.limits for owner in owners])
        buffer.fill(ids, values)
        self._buffer = buffer
        self._ends = ends
        self._places = None if adjacent else {row: place for place, row in enumerate(rows)}
        self._first = first

    def pick(self, row: int, sampler: SequenceSampler) -> int | None:
        """Return a token of row `row`; None if its maximum isn't finite."""
        place = row - self._first if self._places is None else self._places[row]
        start = self._ends[place - 1] if place else 0
        end = self._ends[place]
        if start == end:
            return None
        assert sampler.chain is not None
        return self._buffer.sample(sampler.chain, start, end)


def _rows(wanted: RowRequest) -> range:
    return range(wanted.row, wanted.row + len(wanted.draft) + 1)


def _adjust(logits: Floats, wanted: Sequence[RowRequest], samplers: Sequence[SequenceSampler]) -> None:
    """Adjust all rows; where tokens change what is added, only each first one: a draft's others wait."""
    groups: dict[type[Adjuster], tuple[list[int], list[Adjuster]]] = {}
    for each, sampler in zip(wanted, samplers, strict=True):
        for adjuster in sampler.adjusters:
            rows, adjusters = groups.setdefault(type(adjuster), ([], []))
            rows.append(each.row)
            adjusters.append(adjuster)
            if each.draft and not adjuster.changes:
                rows.extend(_rows(each)[1:])
                adjusters.extend([adjuster] * len(each.draft))
    for kind in ADJUSTERS:
        if kind in groups:
            kind.adjust(logits, *groups[kind])
