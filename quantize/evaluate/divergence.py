"""The divergence of one model's predictions from another's: sums over scored positions. Pure.

The definitions are those of `llama-perplexity`: perplexity is e^mean(-ln p(token)) with the standard
error of the mean carried through; KL divergence is sum p_base · (ln p_base - ln p) at each position, in nats;
tokens with p_base below e^-16 count nothing, as its files can't hold them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_LEAST_LOG_P: Final = -16.0
_ROWS_AT_ONCE: Final = 128


@dataclass(frozen=True)
class Figure:
    """A mean and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Perplexity:
    """The perplexity of a text under one model."""

    perplexity: Figure
    nll: Figure
    """The mean of -ln p(token), in nats."""
    n_tokens: int


@dataclass(frozen=True)
class Divergence:
    """The divergence of a model from its baseline, over the positions of a text. KL divergences in nats."""

    mean: Figure
    median: float
    p99: float
    maximum: float
    same_top: Figure
    """The share of positions where both find the same token likeliest."""
    ln_ratio: Figure
    """The value of ln(perplexity / the baseline's)."""
    n_tokens: int


def log_softmax(logits: Floats) -> Floats:
    """Return ln p [n, n_vocab] f32 of logits [n, n_vocab]; sums are in f64."""
    out = np.empty_like(logits)
    for start in range(0, len(logits), _ROWS_AT_ONCE):
        rows = logits[start : start + _ROWS_AT_ONCE]
        shifted = rows - rows.max(axis=1, keepdims=True)
        total = np.log(np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64))
        out[start : start + _ROWS_AT_ONCE] = shifted - total.astype(np.float32)
    return out


class Losses:
    """The losses, -ln p(token), of every scored position so far."""

    def __init__(self) -> None:
        self._nll: list[Doubles] = []

    def add(self, log_p: Floats, targets: npt.NDArray[np.int32]) -> None:
        """Add positions: `log_p` [n, n_vocab], and the tokens `targets` [n] that came."""
        self._nll.append(-log_p[np.arange(len(targets)), targets].astype(np.float64))

    @property
    def nll(self) -> Doubles:
        return np.concatenate(self._nll) if self._nll else np.empty(0)

    def perplexity(self) -> Perplexity:
        nll = self.nll
        mean = mean_figure(nll)
        value = math.exp(mean.value)
        return Perplexity(Figure(value, value * mean.error), mean, len(nll))


class Divergences:
    """KL divergence and agreement of every scored position so far."""

    def __init__(self) -> None:
        self._kl: list[Doubles] = []
        self._same: list[npt.NDArray[np.bool_]] = []

    def add(self, base: Floats, log_p: Floats) -> None:
        """Add positions: the baseline's ln p [n, n_vocab], and the model's."""
        for start in range(0, len(base), _ROWS_AT_ONCE):
            a, b = base[start : start + _ROWS_AT_ONCE], log_p[start : start + _ROWS_AT_ONCE]
            p = np.where(a > _LEAST_LOG_P, np.exp(a), 0.0)
            self._kl.append(np.einsum("ij,ij->i", p, a - b, dtype=np.float64))
            self._same.append(a.argmax(axis=1) == b.argmax(axis=1))

    @property
    def kl(self) -> Doubles:
        """The KL divergences, position by position."""
        return np.concatenate(self._kl) if self._kl else np.empty(0)

    def mean(self) -> float:
        """Return the mean KL divergence alone, for callers that compare many."""
        return float(self.kl.mean())

    def divergence(self, base: Losses, losses: Losses) -> Divergence:
        kl = self.kl
        same = np.concatenate(self._same)
        share = float(same.mean())
        return Divergence(
            mean=mean_figure(kl),
            median=float(np.median(kl)),
            p99=float(np.quantile(kl, 0.99)),
            maximum=float(kl.max()),
            same_top=Figure(share, math.sqrt(share * (1 - share) / max(1, len(same) - 1))),
            ln_ratio=_difference(losses.nll, base.nll),
            n_tokens=len(kl),
        )


def mean_figure(values: Doubles) -> Figure:
    """Return the mean, and its standard error as `llama-perplexity` computes it."""
    mean = float(values.mean())
    variance = float((values**2).mean()) - mean**2
    error = math.sqrt(variance / (len(values) - 1)) if variance > 0 and len(values) > 1 else 0.0
    return Figure(mean, error)


def _difference(a: Doubles, b: Doubles) -> Figure:
    return mean_figure(a - b)
