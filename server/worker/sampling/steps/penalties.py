"""Penalties: repeat, frequency and presence penalties over a sequence's last tokens."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from models.errors import CorralError
from models.llamacpp.sampler import SamplerChain
from server.engine.sampling_params import SamplingParams
from server.worker.sampling.steps.step import Adjuster, Floats, Indices, Step


class PenaltyAdjuster(Adjuster):
    """The tokens among a sequence's last `repeat_last_n`, their counts, and the cost of that.

    Tokens and counts are arrays: a token that comes takes a place or adds to its count, one that leaves for
    good gives its place to the last one.
    """

    changes = True

    def __init__(self, params: SamplingParams, prompt_tokens: Sequence[int]) -> None:
        self.repeat = np.float32(params.repeat_penalty)
        self.frequency = np.float32(params.frequency_penalty)
        self.presence = np.float32(params.presence_penalty)
        self._last_n = _look_back(params)
        recent = prompt_tokens[max(0, len(prompt_tokens) - self._last_n) :]
        self._recent = deque(recent)
        counted = Counter(recent)
        self._places = {token: place for place, token in enumerate(counted)}
        self._ids = np.array(list(counted), np.intp)
        self._counts = np.array(list(counted.values()), np.float32)

    @property
    def ids(self) -> Indices:
        """The tokens to penalize, each once: a view [n], valid until the next `accept`."""
        return self._ids[: len(self._places)]

    @property
    def counts(self) -> Floats:
        """The number of times that each of `ids` was seen: a view [n], valid until the next `accept`."""
        return self._counts[: len(self._places)]

    def accept(self, token: int) -> None:
        """Count `token` as the latest one; the oldest may leave."""
        place = self._places.get(token)
        if place is None:
            place = self._places[token] = len(self._places)
            self._make_room(place)
            self._ids[place] = token
            self._counts[place] = 0
        self._counts[place] += 1
        self._recent.append(token)
        if len(self._recent) > self._last_n:
            self._forget(self._recent.popleft())

    def _make_room(self, place: int) -> None:
        if place == len(self._ids):
            spare = max(16, place)
            self._ids = np.concatenate((self._ids, np.zeros(spare, np.intp)))
            self._counts = np.concatenate((self._counts, np.zeros(spare, np.float32)))

    def _forget(self, token: int) -> None:
        place = self._places[token]
        self._counts[place] -= 1
        if self._counts[place] == 0:
            last = len(self._places) - 1
            last_token = int(self._ids[last])
            self._ids[place], self._counts[place] = last_token, self._counts[last]
            self._places[last_token] = place
            del self._places[token]

    def error(self, row: Floats) -> CorralError | None:  # noqa: ARG002 - an `Adjuster`'s
        return None

    @classmethod
    def adjust(cls, logits: Floats, rows: Sequence[int], adjusters: Sequence[PenaltyAdjuster]) -> None:
        flat = logits.reshape(-1)
        n_vocab = logits.shape[1]
        first = adjusters[0]
        if len(rows) == 1:
            places = first.ids + rows[0] * n_vocab
            x = flat[places]
            cost = first.counts * first.frequency + first.presence
            flat[places] = np.where(x <= 0, x * first.repeat, x / first.repeat) - cost
            return
        sizes = [len(each.ids) for each in adjusters]
        scales = np.array([(each.repeat, each.frequency, each.presence) for each in adjusters], np.float32)
        repeat, frequency, presence = np.repeat(scales, sizes, axis=0).T
        offsets = np.repeat(np.array(rows, np.intp) * n_vocab, sizes)
        places = np.concatenate([each.ids for each in adjusters]) + offsets
        x = flat[places]
        cost = np.concatenate([each.counts for each in adjusters]) * frequency + presence
        flat[places] = np.where(x <= 0, x * repeat, x / repeat) - cost


class Penalties(Step):
    """Make the tokens among the last `repeat_last_n` less likely, prompt included."""

    fields = ("repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty")
    adjuster = PenaltyAdjuster

    @property
    def is_active(self) -> bool:
        params = self.params
        return params.repeat_last_n != 0 and (
            params.repeat_penalty != 1 or params.presence_penalty != 0 or params.frequency_penalty != 0
        )

    @property
    def n_recent(self) -> int:
        return _look_back(self.params)

    def add(self, chain: SamplerChain) -> None:
        params = self.params
        chain.add_penalties(
            params.repeat_last_n, params.repeat_penalty, params.frequency_penalty, params.presence_penalty
        )


def _look_back(params: SamplingParams) -> int:
    """Return the number of tokens to look back at, which may be more than there are."""
    return sys.maxsize if params.repeat_last_n < 0 else params.repeat_last_n
