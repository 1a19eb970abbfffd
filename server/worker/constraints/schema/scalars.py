"""The keywords of types, strings and numbers, as llguidance holds them. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from server.worker.constraints.schema.bounded_numbers import LAST_PLACE
from server.worker.constraints.schema.formats import NARROWER, NATIVE, PATTERNS, UNHELD
from server.worker.constraints.schema.limits import MAX_LENGTH, MAX_PATTERN, MAX_WHOLE, Place
from server.worker.constraints.schema.repetitions import check_repetitions
from server.worker.constraints.schema.values import TYPES, types_of

if TYPE_CHECKING:
    from server.worker.constraints.schema.rewrite import Rewriting

_MAX_EXCLUSIVE = 10_000
"""Beyond it a double has no room for the last decimal place; nor has a range for a bound that matters."""


def types(job: Rewriting) -> None:
    """Keep `type`."""
    schema, place = job.node.schema, job.node.place.at("type")
    if "type" not in schema:
        return
    given = schema["type"]
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(name in TYPES for name in names):
        place.refuse(f"{str(given)[:40]!r} isn't a type or a list of them; there are {', '.join(TYPES)}")
    job.plain["type"] = given


def strings(job: Rewriting) -> None:
    """Keep lengths and `pattern`; a format is a pattern, too."""
    schema, place = job.node.schema, job.node.place
    for keyword in ("minLength", "maxLength"):
        if keyword in schema:
            job.plain[keyword] = count(schema[keyword], place.at(keyword), MAX_LENGTH)
    if "pattern" in schema:
        job.plain["pattern"] = pattern(schema["pattern"], place.at("pattern"))
    name = schema.get("format")
    if name is None or "string" not in types_of(job.plain):
        return
    if not isinstance(name, str):
        place.at("format").refuse("it must be a string")
    if name in UNHELD:
        job.rewriter.attempt(place.at("format"), f"the format '{name}'; leave it out, or use 'pattern'")
        return
    name = NARROWER.get(name, name)
    if name in NATIVE:
        job.plain["format"] = name
    elif name in PATTERNS:
        written = f"^(?:{PATTERNS[name]})$"
        if "pattern" in job.plain:
            job.more.append({"pattern": written})
        else:
            job.plain["pattern"] = written


def numbers(job: Rewriting) -> None:
    """Keep bounds and `multipleOf`; bounds beyond what readers keep exactly are moved to there."""
    schema, place = job.node.schema, job.node.place
    for name, exclusive, sign in (("minimum", "exclusiveMinimum", -1), ("maximum", "exclusiveMaximum", 1)):
        bound, without = schema.get(name), schema.get(exclusive)
        if isinstance(without, bool):
            bound, without = (None, bound) if without else (bound, None)
        for keyword, value in ((name, bound), (exclusive, without)):
            if value is None:
                continue
            _check_number(value, place.at(keyword))
            if sign * value < -MAX_WHOLE:
                place.at(keyword).refuse(f"whole numbers are exact to {MAX_WHOLE:,}; use a smaller bound")
            if abs(value) > MAX_WHOLE:
                job.plain.setdefault(name, sign * MAX_WHOLE)
            elif keyword == exclusive and value == value // 1 and abs(value) <= _MAX_EXCLUSIVE:
                # llguidance takes 0 as above 0 where the other bound is below 1.
                inside = value - sign * LAST_PLACE
                known = job.plain.get(name, inside)
                job.plain[name] = max(known, inside) if sign < 0 else min(known, inside)
            else:
                job.plain[keyword] = value
    if "multipleOf" in schema:
        _check_number(schema["multipleOf"], place.at("multipleOf"))
        if not 0 < schema["multipleOf"] <= MAX_WHOLE:
            place.at("multipleOf").refuse("it must be above 0")
        job.plain["multipleOf"] = schema["multipleOf"]
        if schema["multipleOf"] == schema["multipleOf"] // 1 and "type" in job.plain:
            kinds = job.plain["type"]
            job.plain["type"] = (
                _whole(kinds) if isinstance(kinds, str) else list(dict.fromkeys(map(_whole, kinds)))
            )


def count(value: Any, place: Place, most: int) -> int:
    """Return a bound that is a number of things. Raises RequestError for another value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 0:
        place.refuse("it must be a whole number of 0 or more")
    if value > most:
        place.refuse(f"the limit is {most:,}; lower it or leave it out")
    return int(value)


def pattern(value: Any, place: Place) -> str:
    """Return a regular expression. Raises RequestError for one that is too long."""
    if not isinstance(value, str):
        place.refuse("it must be a string")
    if len(value) > MAX_PATTERN:
        place.refuse(f"it has {len(value):,} characters; the limit is {MAX_PATTERN:,}")
    check_repetitions(value, place)
    return value


def _whole(kind: str) -> str:
    """Return the type of the multiples of a whole number: of such numbers it is plain that they are whole."""
    return "integer" if kind == "number" else kind


def _check_number(value: Any, place: Place) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        place.refuse("it must be a number")
    if isinstance(value, float) and math.isnan(value):
        place.refuse("it must be a number")
