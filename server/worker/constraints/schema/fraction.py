"""`FRACTION`: the schema of numbers that aren't whole, which JSON Schema's keywords can't say. Pure.

llguidance has ranges, so these numbers are the ranges between whole ones, and not all of them.
"""

from __future__ import annotations

from typing import Any

from server.worker.constraints.schema.bounded_numbers import LAST_PLACE

MAX_FRACTION = 100
"""Numbers that aren't whole lie between this and its opposite: each range costs some 0.05 ms."""


class _Fraction(dict[str, Any]):
    """A schema that no client can send, told by its class."""


FRACTION: dict[str, Any] = _Fraction(type="number")


def is_fraction(schema: Any) -> bool:
    """Return True if the schema is `FRACTION`."""
    return isinstance(schema, _Fraction)


def fraction_ranges() -> dict[str, Any]:
    """Return the numbers that aren't whole as a schema that llguidance holds."""
    ranges = range(-MAX_FRACTION, MAX_FRACTION)
    bounds = [{"exclusiveMinimum": whole, "exclusiveMaximum": whole + 1} for whole in ranges]
    return {"anyOf": [{"type": "number", "multipleOf": LAST_PLACE, **each} for each in bounds]}
