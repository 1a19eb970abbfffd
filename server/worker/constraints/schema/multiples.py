"""`check_multiples`: the `multipleOf` of schemas that hold together are few enough to count. Pure.

llguidance counts remainders by the least common multiple. Of large ones it makes no grammar that can be
followed, and says so only on the way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from server.worker.constraints.schema.references import KEYWORDS, Node, References

MAX_MULTIPLE = 1_000_000
"""The largest common multiple, in units of the last decimal place."""
_MAX_DEPTH = 16


def check_multiples(node: Node, references: References) -> None:
    """Raise RequestError if the least common multiple of all that hold for `node` is too large."""
    steps = list(_steps(node, references, 0))
    scale = math.lcm(*(step.denominator for step in steps))
    if len(steps) > 1 and math.lcm(*(int(step * scale) for step in steps)) > MAX_MULTIPLE:
        node.place.at("allOf").refuse(
            "the least common multiple of each 'multipleOf' is too large; the limit is "
            f"{MAX_MULTIPLE:,}, in units of the last decimal place"
        )


def in_last_places(step: Fraction) -> int:
    """Return a number of decimal places without its point: 25 for 0.25."""
    while step.denominator != 1 and step.numerator <= MAX_MULTIPLE:
        step *= 10
    return step.numerator


def decimal(value: float) -> Fraction:
    """Return the number as it was written, which binary fractions only approach."""
    return Fraction(str(value))


def _steps(node: Node, references: References, depth: int) -> Iterator[Fraction]:
    schema: Any = node.schema
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return
    step = schema.get("multipleOf")
    if isinstance(step, int | float) and not isinstance(step, bool) and 0 < step < math.inf:
        yield decimal(step)
    for keyword in KEYWORDS:
        if keyword in schema:
            yield from _steps(references.target(node, keyword), references, depth + 1)
    members = schema.get("allOf")
    for index in range(len(members) if isinstance(members, list) else 0):
        yield from _steps(node.child("allOf", index), references, depth + 1)
