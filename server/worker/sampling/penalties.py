"""Repeat, frequency and presence penalties over a sequence's last tokens, as llama.cpp's sampler has them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.llamacpp.sampler_params import SamplerParams

_Floats = npt.NDArray[np.float32]


class Penalties:
    """Which tokens are among the last `repeat_last_n`, how often, and what that costs them.

    The tokens and their counts are kept as arrays: a token that comes takes a place or adds to its count,
    one that leaves for good gives its place to the last one.
    """

    def __init__(self, params: SamplerParams, prompt_tokens: Sequence[int]) -> None:
        self.repeat = np.float32(params.repeat_penalty)
        self.frequency = np.float32(params.frequency_penalty)
        self.presence = np.float32(params.presence_penalty)
        self._last_n = params.repeat_last_n
        recent = prompt_tokens[max(0, len(prompt_tokens) - self._last_n) :]
        self._recent = deque(recent)
        counted = Counter(recent)
        self._places = {token: place for place, token in enumerate(counted)}
        self._ids = np.array(list(counted), np.intp)
        self._counts = np.array(list(counted.values()), np.float32)

    @property
    def ids(self) -> npt.NDArray[np.intp]:
        """The tokens to penalize, each once; a view [n] until the next `accept`."""
        return self._ids[: len(self._places)]

    @property
    def counts(self) -> _Floats:
        """How often each of `ids` was seen; a view [n] until the next `accept`."""
        return self._counts[: len(self._places)]

    def accept(self, token: int) -> None:
        """Take `token` up as the latest one; the oldest may leave."""
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
            moved = int(self._ids[last])
            self._ids[place], self._counts[place] = moved, self._counts[last]
            self._places[moved] = place
            del self._places[token]


def penalize(logits: _Floats, rows: Sequence[int], penalties: Sequence[Penalties]) -> None:
    """Change logits [R, V] in place: row `rows[i]` by `penalties[i]`. A row may be named once."""
    if not rows:
        return
    flat = logits.reshape(-1)
    n_vocab = logits.shape[1]
    first = penalties[0]
    if len(rows) == 1:
        places = first.ids + rows[0] * n_vocab
        x = flat[places]
        cost = first.counts * first.frequency + first.presence
        flat[places] = np.where(x <= 0, x * first.repeat, x / first.repeat) - cost
        return
    sizes = [len(each.ids) for each in penalties]
    scales = np.array([(each.repeat, each.frequency, each.presence) for each in penalties], np.float32)
    repeat, frequency, presence = np.repeat(scales, sizes, axis=0).T
    offsets = np.repeat(np.array(rows, np.intp) * n_vocab, sizes)
    places = np.concatenate([each.ids for each in penalties]) + offsets
    x = flat[places]
    cost = np.concatenate([each.counts for each in penalties]) * frequency + presence
    flat[places] = np.where(x <= 0, x * repeat, x / repeat) - cost
