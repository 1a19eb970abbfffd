"""Statistics over the outcomes of a load. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from server.loadtest.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantiles of times, in seconds; None for a quantity that was never seen."""

    p50: float | None
    p99: float | None
    longest: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> Quantiles:
        """Return the quantiles of values in any order."""
        ordered = sorted(values)
        return cls(percentile(ordered, 50), percentile(ordered, 99), ordered[-1] if ordered else None)


@dataclass(frozen=True, slots=True)
class Figures:
    """The statistics of a load. Times are in seconds, rates are over `wall_s`.

    `wall_s` is from the first request to the last byte of a good answer. `gap_s` is between two pieces of
    text of one answer; a server may send several tokens as one piece.
    `tokens_in` counts prompts as the server reports them, cached ones included; None if it doesn't.
    """

    n_requests: int
    n_errors: int
    wall_s: float
    tokens_out: int
    tokens_in: int | None
    tokens_cached: int | None
    first_token_s: Quantiles
    gap_s: Quantiles
    end_to_end_s: Quantiles

    @property
    def tokens_out_per_s(self) -> float:
        """Generated tokens per second of wall time."""
        return self.tokens_out / self.wall_s if self.wall_s else 0.0

    @property
    def tokens_in_per_s(self) -> float | None:
        """Prompt tokens per second of wall time; None where they aren't reported."""
        return None if self.tokens_in is None or not self.wall_s else self.tokens_in / self.wall_s

    @property
    def requests_per_s(self) -> float:
        """Requests that succeeded per second of wall time."""
        return (self.n_requests - self.n_errors) / self.wall_s if self.wall_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return all figures, the rates too, as plain values."""
        rates = {
            "requests_per_s": self.requests_per_s,
            "tokens_out_per_s": self.tokens_out_per_s,
            "tokens_in_per_s": self.tokens_in_per_s,
        }
        return {**asdict(self), **rates}


def figures_of(outcomes: Sequence[Outcome]) -> Figures:
    """Return the figures of the answers that succeeded; `n_errors` counts the others."""
    good = [one for one in outcomes if one.error is None]
    wall_s = max((o.ended_s for o in good), default=0.0) - min((o.started_s for o in good), default=0.0)
    return Figures(
        n_requests=len(outcomes),
        n_errors=len(outcomes) - len(good),
        wall_s=wall_s,
        tokens_out=sum(one.n_tokens for one in good),
        tokens_in=_sum(one.n_prompt_tokens for one in good),
        tokens_cached=_sum(one.n_cached_tokens for one in good),
        first_token_s=Quantiles.of(one.first_token_s for one in good if one.first_token_s is not None),
        gap_s=Quantiles.of(gap for one in good for gap in one.gaps_s),
        end_to_end_s=Quantiles.of(one.ended_s - one.started_s for one in good),
    )


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Return a percentile of ascending values, linear between neighbours (numpy's default); None of none."""
    if not ordered:
        return None
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _sum(counts: Iterable[int | None]) -> int | None:
    """None if any is unknown, or there are none."""
    known = list(counts)
    return sum(n for n in known if n is not None) if known and None not in known else None
