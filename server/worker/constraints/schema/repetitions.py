"""`check_repetitions`, `least_length`: what the repetitions of an expression multiply to. Pure."""

from __future__ import annotations

import re

from server.worker.constraints.schema.limits import Place

MAX_REPETITIONS = 100_000
"""Bounds of nested repetitions multiply to at most so many."""

_TOKEN = re.compile(
    r"""(?P<letter>\\(?:[xuU]\{[^}]*\}|[pP]\{[^}]*\}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[pP]?[\s\S]))
    |(?P<any_of>\[\^?\]?(?:\\[\s\S]|\[[^\]]*\]|[^\]\\])*\])
    |(?P<times>\{\s*(?P<least>\d*)\s*(?P<comma>,?)\s*(?P<most>\d*)\s*\}|[*+?])
    |(?P<flags>\(\?[a-zA-Z-]*\))
    |(?P<open>\((?:\?(?:P?<\w+>|[a-zA-Z-]*:))?)
    |(?P<close>\))
    |(?P<bar>\|)
    |(?P<end>[\^$])
    |(?P<other>[\s\S])""",
    re.VERBOSE,
)
_WIDTHLESS = re.compile(r"\\[bBAz<>]")
_NO_OPTION = 1 << 62


def check_repetitions(expression: str, place: Place) -> None:
    """Raise RequestError if the bounds of an expression's repetitions are too high together."""
    groups = [1]
    last = 1
    for found in _TOKEN.finditer(expression):
        kind = found.lastgroup
        if kind == "open":
            groups.append(1)
            last = 1
        elif kind == "close" and len(groups) > 1:
            last = groups.pop()
        elif kind != "times":
            last = 1
        elif found[0][0] == "{":
            last *= max(_count(found["least"], 1), _count(found["most"], 1), 1)
        groups[-1] = max(groups[-1], last)
        if last > MAX_REPETITIONS:
            place.refuse(
                f"its repetitions multiply to {last:,}; the limit is {MAX_REPETITIONS:,}; lower them"
            )


def least_length(expression: str) -> int:
    """Return a number of characters that no match of an expression has fewer of."""
    shortest, lengths = [_NO_OPTION], [0]  # of each open group: of its options, and of the one that goes on
    last = 0  # of what a repetition would repeat
    for found in _TOKEN.finditer(expression):
        kind = found.lastgroup
        if kind == "flags" and "x" in found[0]:
            return 0
        if kind == "open":
            shortest.append(_NO_OPTION)
            lengths.append(0)
            last = 0
        elif kind == "close" and len(lengths) > 1:
            last = min(lengths.pop(), shortest.pop())
            lengths[-1] += last
        elif kind == "bar":
            shortest[-1] = min(shortest[-1], lengths[-1])
            lengths[-1] = last = 0
        elif kind == "times":
            least = 1 if found[0] == "+" else _count(found["least"], 0)
            lengths[-1] += last * (least - 1)
            last *= least
        else:
            last = int(kind not in ("flags", "end") and not _WIDTHLESS.fullmatch(found[0]))
            lengths[-1] += last
    return min(lengths[0], shortest[0])


def _count(digits: str | None, without: int) -> int:
    return int(digits[:19]) if digits else without
