"""`DecodeOutputs`: the results of a decode's rows of logits: tokens, logprobs, prompt scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from models.errors import CorralError, LlamaCppError
from models.llamacpp.context import Context
from models.machine.hardware import usable_cores
from server.engine.batch import BatchEntry, Output
from server.engine.events import TokenLogprob
from server.engine.sampling_params import SamplingParams
from server.worker.run.context_decoder import Place
from server.worker.run.logprobs import token_logprobs
from server.worker.sampling.device_rows import DeviceRows
from server.worker.sampling.probabilities_left import ProbabilitiesLeft
from server.worker.sampling.row_samplers import RowRequest, RowSamplers
from server.worker.sampling.sequence_guide import Guide, SequenceGuide
from server.worker.sampling.token_bans import TokenBans, Wanted


class DecodeOutputs:
    """The samplers of all open sequences, and which of them want logprobs. One thread."""

    def __init__(self, context: Context, n_ctx: int, *, on_device: bool = False) -> None:
        """`context`: the one whose rows may stay on its device, and do with `on_device`. `n_ctx`: tokens that
        one sequence may have. Raises LlamaCppError if the device can't do its part."""
        self._context = context
        self._vocab = context.model.vocab
        self._n_ctx = n_ctx
        self._samplers = RowSamplers(self._vocab, n_ctx)
        self._left: dict[int, ProbabilitiesLeft] = {}
        """The sequences whose logprobs are those with which tokens are drawn."""
        self._n_probs: dict[int, int] = {}
        """Alternatives per token, by sequence, for the sequences that want logprobs."""
        self._guides: dict[int, SequenceGuide] = {}
        """The guides of the sequences that have one, or had tokens forced on them."""
        on_gpu = context.model.n_gpu_layers != 0 and not context.model.cpu_experts
        has_free_core = on_gpu or context.n_threads < usable_cores()[1]
        self._bans = TokenBans(self._vocab.n_tokens, has_free_core=has_free_core)
        self._device = DeviceRows(context, self._samplers, self._n_probs) if on_device else None
        if self._device is not None and not self._device.start():
            raise LlamaCppError(
                "this device can't find the largest logits of a row; serve with --device-sampling off"
            )

    @property
    def device(self) -> DeviceRows | None:
        """The rows that stay on the device, to be prepared before each decode; None if none do."""
        return self._device

    @property
    def n_open(self) -> int:
        """The number of open sequences."""
        return len(self._samplers)

    def open(
        self,
        sequence_id: int,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Sequence[int],
        n_probs: int | None,
        guide: object | None = None,
        *,
        after_sampling: bool = False,
    ) -> None:
        """Get ready to sample a sequence, with the logprobs of its tokens if `n_probs` isn't None.

        With `after_sampling` they are those with which the tokens are drawn.

        `guide` is a `Guide`. Raises RequestError naming a wrong parameter.
        """
        own: SequenceGuide | None = None
        if guide is not None:
            own = SequenceGuide(cast("Guide", guide), at_once=n_probs is None)
        self._samplers.open(sequence_id, params, seed, prompt_tokens, own)
        if own is not None:
            self._guides[sequence_id] = own
        if n_probs is not None:
            self._n_probs[sequence_id] = n_probs
        if n_probs is not None and after_sampling:
            self._left[sequence_id] = ProbabilitiesLeft(self._vocab, params, seed, prompt_tokens, self._n_ctx)

    def close(self, sequence_id: int) -> None:
        """Forget a sequence; one that isn't open is no error."""
        self._samplers.close(sequence_id)
        self._n_probs.pop(sequence_id, None)
        if (left := self._left.pop(sequence_id, None)) is not None:
            left.close()
        self._guides.pop(sequence_id, None)

    def force(self, sequence_id: int, tokens: Sequence[int]) -> None:
        """Make `tokens` the sequence's next ones."""
        guide = self._guides.get(sequence_id)
        if guide is None:
            guide = SequenceGuide(None, at_once=sequence_id not in self._n_probs)
            self._guides[sequence_id] = guide
            self._samplers.guide(sequence_id, guide)
        guide.force(tokens)

    def replay(self, sequence_id: int, token: int) -> None:
        """Take in a token that was chosen elsewhere. Raises RequestError if it couldn't be chosen here."""
        self._samplers.replay(sequence_id, token)
        if (left := self._left.get(sequence_id)) is not None:
            left.replay(token)

    def prepare(self, entries: Sequence[BatchEntry]) -> None:
        """Begin what can be done while `entries` are computed: the masks of grammars."""
        if not self._guides:
            return
        wanted: list[Wanted] = []
        for entry in entries:
            guide = self._guides.get(entry.sequence_id)
            if guide is not None and entry.n_outputs:
                guide.bans = ()
                if guide.needs_bans:
                    wanted.append((guide, _draft(entry)))
        self._bans.start(wanted)

    def settle(self) -> None:
        """Wait for what `prepare` began, whatever became of the entries."""
        if self._guides:
            self._bans.wait()

    def read(self, places: list[Place], n_rows: int, context: Context) -> list[Output | CorralError]:
        """One result per place of the last decode in `context`, which had `n_rows` rows of logits."""
        if not places:
            return []
        logits = context.logits(n_rows)
        # Logprobs come first: sampling changes the rows.
        wanted: list[RowRequest] = []
        scores: dict[int, list[TokenLogprob] | CorralError] = {}
        kept: dict[int, npt.NDArray[np.float32]] = {}
        for entry, row, index in places:
            id_ = entry.sequence_id
            if entry.targets is not None:
                scores[id_] = self._logprobs(logits[row:], id_, entry.targets)
            if entry.n_outputs:
                skipped = 0 if entry.targets is None else len(entry.tokens) - 1
                wanted.append(RowRequest(id_, row + skipped, index + skipped, _draft(entry), entry.ban_eog))
                if id_ in self._n_probs:
                    kept[id_] = logits[row + skipped : row + skipped + entry.n_outputs].copy()
        if self._guides:
            self._bans.wait()
        sampler = self._samplers if self._device is None or context is not self._context else self._device
        sampled = sampler.sample(context, logits, wanted) if wanted else []
        for each in wanted:
            if each.sequence_id in self._left:  # what was banned is in no distribution
                rows = kept[each.sequence_id]
                rows[np.isneginf(logits[each.row : each.row + len(rows)])] = -np.inf
        if self._guides and wanted:
            by_id = {want.sequence_id: tokens for want, tokens in zip(wanted, sampled, strict=True)}
            return [self._guided_output(entry.sequence_id, by_id, scores, kept) for entry, _, _ in places]
        if not scores and not kept:
            return [Output(tokens) if isinstance(tokens, list) else tokens for tokens in sampled]
        by_id = {want.sequence_id: tokens for want, tokens in zip(wanted, sampled, strict=True)}
        return [self._output(entry.sequence_id, by_id, scores, kept) for entry, _, _ in places]

    def _logprobs(
        self, rows: npt.NDArray[np.float32], id_: int, tokens: list[int]
    ) -> list[TokenLogprob] | CorralError:
        """The logprob of each row's token; an error, for this sequence alone, if a row isn't finite."""
        try:
            return token_logprobs(rows, tokens, self._n_probs.get(id_, 0), self._shown)
        except LlamaCppError as error:
            return error

    def _drawn(
        self, left: ProbabilitiesLeft, rows: npt.NDArray[np.float32], id_: int, tokens: list[int]
    ) -> list[TokenLogprob] | CorralError:
        """The logs of the probabilities with which the tokens were drawn; an error as in `_logprobs`."""
        try:
            return left.of(rows, tokens, self._n_probs[id_], self._shown)
        except LlamaCppError as error:
            return error

    def _guided_output(
        self,
        id_: int,
        sampled: dict[int, list[int] | CorralError],
        scores: dict[int, list[TokenLogprob] | CorralError],
        kept: dict[int, npt.NDArray[np.float32]],
    ) -> Output | CorralError:
        """Return the output of a sequence, with what is forced after it."""
        output = self._output(id_, sampled, scores, kept)
        guide = self._guides.get(id_)
        if guide is None or id_ not in sampled or not isinstance(output, Output):
            return output
        if guide.error is not None:
            return guide.error
        forced = self._samplers.forced(id_)
        return Output(output.tokens, output.logprobs, output.scores, forced, guide.is_over)

    def _output(
        self,
        id_: int,
        sampled: dict[int, list[int] | CorralError],
        scores: dict[int, list[TokenLogprob] | CorralError],
        kept: dict[int, npt.NDArray[np.float32]],
    ) -> Output | CorralError:
        tokens, scored = sampled.get(id_, []), scores.get(id_)
        if isinstance(scored, CorralError):
            return scored
        if not isinstance(tokens, list):
            return tokens
        rows = kept.get(id_)
        logprobs: list[TokenLogprob] | CorralError | None = None
        if rows is not None and tokens:
            left = self._left.get(id_)
            if left is None:
                logprobs = self._logprobs(rows, id_, tokens)
            else:
                logprobs = self._drawn(left, rows, id_, tokens)
        if isinstance(logprobs, CorralError):
            return logprobs
        return Output(tokens, logprobs, scored)

    def _shown(self, token: int) -> bytes:
        return self._vocab.piece(token, special=True)


def _draft(entry: BatchEntry) -> list[int]:
    """The tokens of an entry that are guesses: all after the first row with a result."""
    return entry.tokens[1 - entry.n_outputs :] if entry.n_outputs > 1 else []
