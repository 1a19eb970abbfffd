"""`check_repetitions`: bounds of repetitions in an expression, which multiply if nested. Pure."""

from __future__ import annotations

import re

from server.worker.constraints.schema.limits import Place

MAX_REPETITIONS = 100_000
"""Bounds of nested repetitions multiply to at most so many."""

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\s*(\d*)\s*,?\s*(\d*)\s*\}|[\s\S]")


def check_repetitions(expression: str, place: Place) -> None:
    """Raise RequestError if the bounds of an expression's repetitions are too high together."""
    groups = [1]
    last = 1
    for found in _TOKEN.finditer(expression):
        part = found[0]
        if part == "(":
            groups.append(1)
            last = 1
        elif part == ")" and len(groups) > 1:
            last = groups.pop()
        elif part[0] == "{" and len(part) > 1:
            last *= max(int(found[1][:19] or 1), int(found[2][:19] or 1), 1)
        elif part not in "*+?":
            last = 1
        groups[-1] = max(groups[-1], last)
        if last > MAX_REPETITIONS:
            place.refuse(
                f"its repetitions multiply to {last:,}; the limit is {MAX_REPETITIONS:,}; lower them"
            )
