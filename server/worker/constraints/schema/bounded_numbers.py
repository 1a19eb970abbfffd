"""`BoundedNumbers`: numbers end within what readers of JSON keep exactly. Pure.

A grammar of any number of digits lets a model that repeats itself write digits up to the token limit; what it
wrote then is no number that JavaScript keeps, nor one that Python reads.
"""

from __future__ import annotations

from typing import Any

from server.worker.constraints.schema.limits import MAX_WHOLE
from server.worker.constraints.schema.multiples import decimal, in_last_places

_BOUNDS = (("minimum", "exclusiveMinimum", -MAX_WHOLE), ("maximum", "exclusiveMaximum", MAX_WHOLE))
_KEYS = frozenset({"type", "multipleOf", *(keyword for *keywords, _ in _BOUNDS for keyword in keywords)})
_MAX_STEP = 1_000
"""With bounds, a larger `multipleOf` has more states than llguidance takes."""
LAST_PLACE = 1e-10
"""Numbers with bounds have at most ten decimal places: of smaller steps llguidance makes no grammar."""
_LEAST_WIDTH = 1e-3
"""Between closer bounds, ten places might be too few."""
_MOST = 50
"""A document has at most so many different bounds of our own: each costs llguidance some milliseconds."""


class BoundedNumbers:
    """The bounded numbers of one document; equal ones are one definition, which is compiled once."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        """`definitions` of the document: those of numbers are added."""
        self._definitions = definitions
        self._names: dict[tuple[tuple[str, Any], ...], str] = {}

    def bounded(self, schema: Any) -> Any:
        """Return a rewritten schema whose numbers have an end, if they need one of ours and it can be said.

        A number without any bound stays as it is: llguidance would take its exponent away.
        """
        if not isinstance(schema, dict) or not schema.keys() <= _KEYS:
            return schema
        kinds = schema.get("type", ())
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        kind = next((name for name in ("number", "integer") if name in kinds), None)
        if kind is None or (kind == "number" and schema.keys() == {"type"}):
            return schema
        step = schema.get("multipleOf")
        if step is not None and in_last_places(decimal(step)) > _MAX_STEP:
            return schema
        numbers = {**schema, "type": kind}
        for bound, without, value in _BOUNDS:
            if bound not in numbers and without not in numbers:
                numbers[bound] = value
        if kind == "number" and step is None and _width(numbers) >= _LEAST_WIDTH:
            numbers["multipleOf"] = LAST_PLACE
        if len(numbers) == len(schema):
            return schema
        key = tuple(sorted(numbers.items()))
        if key not in self._names:
            if len(self._names) >= _MOST:
                return schema
            self._names[key] = f"number{len(self._names)}"
            self._definitions[self._names[key]] = numbers
        reference = {"$ref": f"#/$defs/{self._names[key]}"}
        others = [name for name in kinds if name not in ("number", "integer")]
        return {"anyOf": [reference, {"type": others}]} if others else reference


def _width(numbers: dict[str, Any]) -> float:
    """Return the distance of the bounds."""
    low, high = (float(numbers.get(bound, numbers.get(without, 0))) for bound, without, _ in _BOUNDS)
    return high - low
