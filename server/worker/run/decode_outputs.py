"""`DecodeOutputs`: the results of a decode's rows of logits: tokens, logprobs, prompt scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.errors import CorralError, LlamaCppError
from models.llamacpp.context import Context
from server.engine.batch import Output
from server.engine.events import TokenLogprob
from server.engine.sampling_params import SamplingParams
from server.worker.run.context_decoder import Place
from server.worker.run.logprobs import token_logprobs
from server.worker.sampling.device_rows import DeviceRows
from server.worker.sampling.row_samplers import RowRequest, RowSamplers


class DecodeOutputs:
    """The samplers of all open sequences, and which of them want logprobs. One thread."""

    def __init__(self, context: Context, n_ctx: int, *, on_device: bool = False) -> None:
        """`context`: the one whose rows may stay on its device, and do with `on_device`. `n_ctx`: tokens that
        one sequence may have. Raises LlamaCppError if the device can't do its part."""
        self._context = context
        self._vocab = context.model.vocab
        self._samplers = RowSamplers(self._vocab, n_ctx)
        self._n_probs: dict[int, int] = {}
        """Alternatives per token, by sequence, for the sequences that want logprobs."""
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
    ) -> None:
        """Get ready to sample a sequence, with the logprobs of its tokens if `n_probs` isn't None.

        Raises RequestError naming a wrong parameter.
        """
        self._samplers.open(sequence_id, params, seed, prompt_tokens)
        if n_probs is not None:
            self._n_probs[sequence_id] = n_probs

    def close(self, sequence_id: int) -> None:
        """Forget a sequence; one that isn't open is no error."""
        self._samplers.close(sequence_id)
        self._n_probs.pop(sequence_id, None)

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
                draft = entry.tokens[1:] if entry.n_outputs > 1 else []
                wanted.append(RowRequest(id_, row + skipped, index + skipped, draft, entry.ban_eog))
                if id_ in self._n_probs:
                    kept[id_] = logits[row + skipped : row + skipped + entry.n_outputs].copy()
        sampler = self._samplers if self._device is None or context is not self._context else self._device
        sampled = sampler.sample(context, logits, wanted) if wanted else []
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

    def _shown(self, token: int) -> bytes:
        return self._vocab.piece(token, special=True)
