"""`rare_experts`: the experts of a mixture to which too few tokens of a matrix's text came. Pure.

An expert's matrices have statistics of their own, over the tokens that were routed to it. llama.cpp's
quantizer takes them as they are, and so do we; for an expert without any all columns weigh alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.expert_tensors import layer_of_experts
from quantize.imatrix.matrix import ImportanceMatrix

ENOUGH_FOR_VARIANCES: Final = 64
"""Over so many tokens the standard error of a mean square of bell-shaped numbers is 18 % of it. How columns
go together takes more: `quantize.moments.moments.ENOUGH_FOR_CORRELATIONS`.
"""
_SHOWN: Final = 8
"""A warning names so many experts; programs get all of them."""


@dataclass(frozen=True, slots=True)
class RareExpert:
    """An expert, by the numbers of its layer and itself, and the tokens that came to it."""

    layer: int
    expert: int
    n_tokens: int

    @property
    def text(self) -> str:
        """The expert for people: `blk.3 expert 17 (5 tokens)`."""
        tokens = {0: "none", 1: "1 token"}.get(self.n_tokens, f"{self.n_tokens} tokens")
        return f"blk.{self.layer} expert {self.expert} ({tokens})"


def rare_experts(matrix: ImportanceMatrix, enough: int = ENOUGH_FOR_VARIANCES) -> list[RareExpert]:
    """Return the experts with fewer than `enough` tokens, layer by layer.

    A matrix in the older binary form doesn't count experts apart: of it there are none.
    """
    fewest: dict[tuple[int, int], int] = {}
    for name, entry in matrix.entries.items():
        layer = layer_of_experts(name)
        if layer is None or len(entry.counts) < 2:
            continue
        for expert, n_tokens in enumerate(entry.counts.tolist()):
            fewest[layer, expert] = min(n_tokens, fewest.get((layer, expert), n_tokens))
    return [
        RareExpert(layer, expert, n_tokens)
        for (layer, expert), n_tokens in sorted(fewest.items())
        if n_tokens < enough
    ]


def names_of(rare: Sequence[RareExpert]) -> str:
    """Return a few of the experts for people, those with fewest tokens first."""
    few = sorted(rare, key=lambda one: one.n_tokens)
    more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
    return ", ".join(one.text for one in few[:_SHOWN]) + more


def warning_of(rare: Sequence[RareExpert]) -> str:
    """Return the warning about experts, at least one, with what becomes of them and the fix."""
    return (
        f"fewer than {ENOUGH_FOR_VARIANCES} tokens of the importance matrix's text came to {len(rare)} of "
        f"the experts: {names_of(rare)}. They are encoded by what little is known, those with none as if all "
        "columns mattered alike, as llama-quantize does; compute the matrix of a longer or more varied text"
    )
