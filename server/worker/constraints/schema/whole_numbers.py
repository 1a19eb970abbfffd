"""`WholeNumbers`: whole numbers without bounds end within what readers of JSON keep exactly. Pure.

A grammar of any number of digits lets a model that repeats itself write digits up to the token limit; what it
wrote then is no number that JavaScript keeps, nor one that Python reads.
"""

from __future__ import annotations

from typing import Any

from server.worker.constraints.schema.limits import MAX_WHOLE

_BOUNDS = (("minimum", "exclusiveMinimum", -MAX_WHOLE), ("maximum", "exclusiveMaximum", MAX_WHOLE))
_KEYS = frozenset({"type", *(keyword for *keywords, _ in _BOUNDS for keyword in keywords)})
_MOST = 100
"""A document has at most so many different bounds of our own: each costs llguidance half a millisecond."""


class WholeNumbers:
    """The bounded whole numbers of one document; equal ones are one definition, which is compiled once."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        """`definitions` of the document: those of whole numbers are added."""
        self._definitions = definitions
        self._names: dict[tuple[tuple[str, Any], ...], str] = {}

    def bounded(self, schema: Any) -> Any:
        """Return a rewritten schema with both bounds, if whole numbers are among what it allows."""
        if not isinstance(schema, dict) or not schema.keys() <= _KEYS:
            return schema
        kinds = schema.get("type", ())
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        if "integer" not in kinds or "number" in kinds:
            return schema
        whole = {**schema, "type": "integer"}
        for bound, without, value in _BOUNDS:
            if bound not in whole and without not in whole:
                whole[bound] = value
        if len(whole) == len(schema):
            return schema
        key = tuple(sorted(whole.items()))
        if key not in self._names:
            if len(self._names) >= _MOST:
                return schema
            self._names[key] = f"whole{len(self._names)}"
            self._definitions[self._names[key]] = whole
        reference = {"$ref": f"#/$defs/{self._names[key]}"}
        others = [kind for kind in kinds if kind != "integer"]
        return {"anyOf": [reference, {"type": others}]} if others else reference
