"""RowResults: what the rows of logits of a decode give each sequence: tokens, their logprobs, scores."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Tokens

import numpy as np
import numpy.typing as npt

from models.errors import CorralError, LlamaCppError
from models.llamacpp.context import Context
from server.engine.batch import BatchEntry, Output
from server.engine.events import TokenLogprob
from server.engine.sampling_params import SamplingParams
from server.worker.run.logprobs import token_logprobs
from server.worker.sampling.device_rows import DeviceRows
from server.worker.sampling.row_samplers import RowSamplers, Wanted

Place = tuple[BatchEntry, int, int]
"""An entry with results, its first row of logits, and that row's index in the batch."""


class RowResults:
    """The samplers of all open sequences, and what else they want to know. One thread."""

    def __init__(self, context: Context, n_ctx: int, shown: Callable[[int], bytes]) -> None:
        """`context`: the one that may leave rows on its device. `shown`: a token's text in logprobs."""
        self._context = context
        self._shown = shown
        self._samplers = RowSamplers(context.model.vocab, n_ctx)
        self._n_probs: dict[int, int] = {}
        self.device: DeviceRows | None = None
        """To be prepared before each step, if there is one."""

    def open(
        self,
        sequence_id: int,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Tokens[int],
        n_probs: int | None,
    ) -> None:
        """Raises RequestError naming a wrong parameter."""
        self._samplers.open(sequence_id, params, seed, prompt_tokens)
        if n_probs is not None:
            self._n_probs[sequence_id] = n_probs

    def close(self, sequence_id: int) -> None:
        """Forget a sequence; one that isn't open is no error."""
        self._samplers.close(sequence_id)
        self._n_probs.pop(sequence_id, None)

    def use_device(self) -> bool:
        """From now on leave rows on the device that computes them, where sampling allows it.

        False if the device can't do its part; then nothing changes.
        """
        device = DeviceRows(self._context, self._samplers, self._n_probs)
        if not device.start():
            return False
        self.device = device
        return True

    def leave_device(self) -> None:
        """Bring all rows to the host again."""
        if self.device is not None:
            self.device.stop()
            self.device = None

    def of(self, places: list[Place], n_rows: int, context: Context) -> list[Output | CorralError]:
        """One result per place of the last decode. Logprobs come first: sampling changes the rows."""
        if not places:
            return []
        logits = context.logits(n_rows)
        wanted: list[Wanted] = []
        scores: dict[int, list[TokenLogprob] | CorralError] = {}
        kept: dict[int, npt.NDArray[np.float32]] = {}
        for entry, row, index in places:
            id_ = entry.sequence_id
            if entry.targets is not None:
                scores[id_] = self._logprobs(logits[row:], id_, entry.targets)
            if entry.n_outputs:
                skipped = 0 if entry.targets is None else len(entry.tokens) - 1
                draft = entry.tokens[1:] if entry.n_outputs > 1 else []
                wanted.append(Wanted(id_, row + skipped, index + skipped, draft, entry.ban_eog))
                if id_ in self._n_probs:
                    kept[id_] = logits[row + skipped : row + skipped + entry.n_outputs].copy()
        sampler = self._samplers if self.device is None or context is not self._context else self.device
        sampled = sampler.sample(context, logits, wanted) if wanted else []
        if not scores and not kept:
            return [Output(tokens) if isinstance(tokens, list) else tokens for tokens in sampled]
        by_id = {want.sequence_id: tokens for want, tokens in zip(wanted, sampled, strict=True)}
        return [self._output(entry.sequence_id, by_id, scores, kept) for entry, _, _ in places]

    def _logprobs(
        self, rows: npt.NDArray[np.float32], id_: int, tokens: list[int]
    ) -> list[TokenLogprob] | CorralError:
        """What each row says of its token; an error, for this sequence alone, if one isn't finite."""
        try:
            return token_logprobs(rows, tokens, self._n_probs.get(id_, 0), self._shown)
        except LlamaCppError as error:
            return error

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
        logprobs = None if rows is None or not tokens else self._logprobs(rows, id_, tokens)
        if isinstance(logprobs, CorralError):
            return logprobs
        return Output(tokens, logprobs, scored)
