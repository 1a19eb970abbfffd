"""Parameters of a recipe: one value, one per layer (a gradient), or by the tensor's name (a filter).

weight: 0.5
t: [0, 0.5, 0.3, 1]                 spread evenly over the slice's layers, linear in between
density:
  - filter: mlp                     in the tensor's name; the first that fits decides
    value: [1, 0.5]
  - value: 0.7                      all others
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.errors import ConfigError

Scalar = float | bool

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Rule:
    """Values for tensors whose names contain `filter`, or for all if it is None.

    Several values are spread along the layers.
    """

    filter: str | None
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Setting:
    """A parameter as a recipe gives it."""

    rules: tuple[Rule, ...]

    def at(self, tensor: str, position: float) -> Scalar | None:
        """Return the value for a tensor; None if no filter fits.

        `position` is that of its layer in the slice, from 0 to 1.
        """
        for rule in self.rules:
            if rule.filter is None or rule.filter in tensor:
                return _between(rule.values, position)
        return None


def parse_setting(value: Any, where: str) -> Setting:
    """Parse a value of the YAML.

    Raises ConfigError, naming `where`: no number, true or false, list of numbers, or filters of those.
    """
    if isinstance(value, Mapping):
        return Setting((_rule(value, where),))
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return Setting(tuple(_rule(item, where) for item in value))
    return Setting((Rule(None, _values(value, where)),))


def short_repr(value: object) -> str:
    """Return a value of a recipe for an error's message: short, whatever it is."""
    return reprlib.repr(value)


def _rule(value: Any, where: str) -> Rule:
    if not isinstance(value, Mapping) or not set(value) <= {"filter", "value"} or "value" not in value:
        raise ConfigError(
            f"{where} has {short_repr(value)} among its filters; each is a value, and a filter if any"
        )
    filter_ = value.get("filter")
    if filter_ is not None and not isinstance(filter_, str):
        raise ConfigError(
            f"{where} has the filter {short_repr(filter_)}; it must be a part of tensors' names"
        )
    return Rule(None if filter_ == "*" else filter_, _values(value["value"], where))


def _values(value: Any, where: str) -> tuple[Scalar, ...]:
    items = value if isinstance(value, list) else [value]
    if not items:
        raise ConfigError(f"{where} is an empty list; give at least one number")
    values = tuple(_scalar(item, where) for item in items)
    if len(values) > 1 and any(isinstance(item, bool) for item in values):
        raise ConfigError(f"{where} is a list with true or false in it, between which there is nothing")
    return values


def _scalar(value: Any, where: str) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)  # YAML 1.1 takes 1e-3, without a point, for text
    if not isinstance(value, int | float) or abs(value) > 1e30 or not math.isfinite(value):
        raise ConfigError(f"{where} is {short_repr(value)}; it must be a number")
    return float(value)


def _between(values: tuple[Scalar, ...], position: float) -> Scalar:
    if len(values) == 1:
        return values[0]
    place = position * (len(values) - 1)
    first = min(int(place), len(values) - 2)
    part = place - first
    return (1 - part) * values[first] + part * values[first + 1]
