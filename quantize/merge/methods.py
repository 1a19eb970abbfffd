"""The merge methods: parameters, and formulas on rows in f32. W₀ is the base, δᵢ = Wᵢ - W₀.

    linear           Σ wᵢ·Wᵢ / Σ wᵢ                           https://arxiv.org/abs/2203.05482
    slerp            along the arc from W₀ to W₁              each tensor as one long vector
    task_arithmetic  W₀ + λ·Σ wᵢ·δᵢ                           https://arxiv.org/abs/2212.04089
    ties             of each δᵢ the largest; then only what   https://arxiv.org/abs/2306.01708
                     has the sign that weighs more
    dare_linear      of each δᵢ a random part, grown to       https://arxiv.org/abs/2311.03099
    dare_ties        make up for the rest; without and with signs
    passthrough      s·W₁: layers put in another order

Parameters and their defaults are those of mergekit, which computes in the weights' own type where this
computes in f32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from quantize.merge.chunks import Floats
from quantize.merge.parameters import Scalar

Values = Mapping[str, Scalar]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method. It must be given if `default` is None; a bool makes it a switch."""

    default: Scalar | None
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Method:
    """A method. `shared` parameters hold for all models of a slice, `each` for one of them.

    `sparse` says which numbers of a δ stay: "largest", "random" or all (None).
    """

    name: str
    has_base: bool
    at_least: int
    at_most: int | None
    shared: Mapping[str, Parameter] = field(default_factory=dict)
    each: Mapping[str, Parameter] = field(default_factory=dict)
    sparse: str | None = None
    elects_signs: bool = False

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {**self.shared, **self.each}

    @property
    def takes(self) -> str:
        """The number of models, in words."""
        if self.at_most is None:
            return f"{self.at_least} models or more"
        return "one model" if self.at_most == 1 else f"exactly {self.at_most} models"

    def accepts(self, n: int) -> bool:
        return self.at_least <= n and (self.at_most is None or n <= self.at_most)


_WEIGHT: Final = Parameter(None)
_DENSITY: Final = Parameter(1.0, 0.0, 1.0)


def _arithmetic(name: str, *, normalize: bool, sparse: str | None = None, signs: bool = False) -> Method:
    shared = {"normalize": Parameter(normalize), "lambda": Parameter(1.0)}
    each = {"weight": _WEIGHT}
    if sparse is not None:
        shared["rescale"] = Parameter(sparse == "random")
        each["density"] = _DENSITY
    return Method(name, True, 2, None, shared, each, sparse, signs)


METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (
        Method("linear", False, 1, None, {"normalize": Parameter(True)}, {"weight": _WEIGHT}),
        Method("slerp", True, 2, 2, {"t": Parameter(None)}),
        _arithmetic("task_arithmetic", normalize=False),
        _arithmetic("ties", normalize=True, sparse="largest", signs=True),
        _arithmetic("dare_linear", normalize=False, sparse="random"),
        _arithmetic("dare_ties", normalize=False, sparse="random", signs=True),
        Method("passthrough", False, 1, 1, {}, {"scale": Parameter(1.0)}),
    )
}


def linear(rows: Sequence[Floats], weights: Sequence[float], normalize: bool) -> Floats:
    """Return the weighted sum, with `normalize` divided by the weights' sum, which isn't 0."""
    out = np.zeros_like(rows[0])
    for matrix, weight in zip(rows, weights, strict=True):
        out += matrix * np.float32(weight)
    if normalize:
        out /= np.float32(sum(weights))
    return out


@dataclass(frozen=True)
class Arc:
    """The factors of W₀ and of W₁ at the point `t` of the arc between them."""

    of_base: float
    of_other: float


COLLINEAR: Final = 0.9995
"""The cosine above which two vectors count as parallel and are merged along the line between them."""

_SHORT: Final = 1e-8
"""A norm or a sum of weights that isn't above this counts as none."""


def arc(t: float, base_square: float, other_square: float, product: float) -> Arc:
    """Return the factors, from W₀·W₀, W₁·W₁ and W₀·W₁. Of nearly parallel vectors the arc is the line."""
    base_norm, other_norm = (math.sqrt(square) for square in (base_square, other_square))
    base_norm, other_norm = (norm if norm > _SHORT else 1.0 for norm in (base_norm, other_norm))
    cosine = max(-1.0, min(1.0, product / base_norm / other_norm))
    if abs(cosine) > COLLINEAR:
        return Arc(1 - t, t)
    angle = math.acos(cosine)
    return Arc(math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle))


def slerp(base: Floats, other: Floats, along: Arc) -> Floats:
    return np.float32(along.of_base) * base + np.float32(along.of_other) * other


def add_deltas(
    base: Floats, deltas: Sequence[Floats], weights: Sequence[float], shared: Values, elects_signs: bool
) -> Floats:
    """Return W₀ + λ·(the deltas' weighted sum). `deltas` are changed.

    With `elects_signs` each number takes only the deltas whose weighted sign is that of the weighted sum (+
    where it is 0). With `normalize` the sum is divided by the weights that went into it.
    """
    for delta, weight in zip(deltas, weights, strict=True):
        delta *= np.float32(weight)  # noqa: PLW2901  in place
    total = np.zeros_like(base)
    if not elects_signs:
        for delta in deltas:
            total += delta
        if shared["normalize"]:
            divisor = sum(weights)
            total /= np.float32(1.0 if abs(divisor) < _SHORT else divisor)
    else:
        for delta in deltas:
            total += delta
        positive = total >= 0
        total[...] = 0
        divisors = np.zeros_like(base)
        for delta, weight in zip(deltas, weights, strict=True):
            agrees = (delta > 0) & positive
            agrees |= (delta < 0) & ~positive
            total += delta * agrees
            divisors += agrees * np.float32(weight)
        if shared["normalize"]:
            divisors[divisors == 0] = 1
            total /= divisors
    if shared["lambda"] != 1:
        total *= np.float32(shared["lambda"])
    total += base
    return total
