"""`check_rules`: a grammar whose texts never end, or are too long, is refused by its rule. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping

from server.worker.constraints.gbnf import Letter, Name, Options, Part, Repeat, Sequence
from server.worker.constraints.schema.limits import MAX_SHORTEST, Place


def names_in(part: Part) -> Iterator[str]:
    """Yield the rules that a part refers to."""
    stack = [part]
    while stack:
        match stack.pop():
            case Name(name):
                yield name
            case Sequence(parts) | Options(parts):
                stack += parts
            case Repeat(inner):
                stack.append(inner)


def reachable(rules: Mapping[str, Part], start: str) -> dict[str, Part]:
    """Return the rules that a text of `start` can have parts of."""
    found: dict[str, Part] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = rules[name]
            waiting += names_in(rules[name])
    return found


def shortest_texts(rules: Mapping[str, Part]) -> dict[str, float]:
    """Return how many characters the shortest text of each rule has; endless ones have no end."""
    lengths: dict[str, float] = dict.fromkeys(rules, math.inf)
    users: dict[str, list[str]] = {}
    for name, part in rules.items():
        for used in set(names_in(part)):
            users.setdefault(used, []).append(name)
    waiting = [(_length(part, lengths), name) for name, part in rules.items()]
    heapq.heapify(waiting)
    while waiting:
        length, name = heapq.heappop(waiting)
        if length < lengths[name]:
            lengths[name] = length
            for user in users.get(name, ()):
                if (better := _length(rules[user], lengths)) < lengths[user]:
                    heapq.heappush(waiting, (better, user))
    return lengths


def check_rules(rules: Mapping[str, Part], start: str, place: Place) -> dict[str, float]:
    """Return `shortest_texts`. Raises RequestError if no text of `start` ends, or each is too long."""
    lengths = shortest_texts(rules)
    if lengths[start] == math.inf:
        refuse_endless(_culprit(rules, start, lengths), place)
    if lengths[start] > MAX_SHORTEST:
        length, name = min((length, name) for name, length in lengths.items() if length > MAX_SHORTEST)
        place.refuse(
            f"each text of its rule '{name}' has at least {int(length):,} characters; the limit is "
            f"{MAX_SHORTEST:,}; lower the bounds of repetitions there or in the rules that it uses"
        )
    return lengths


def refuse_endless(name: str, place: Place) -> None:
    """Raise the RequestError of a rule whose texts never end."""
    place.refuse(
        f"its rule '{name}' has no end: no finite text follows it, as each of its options leads back to it "
        "or matches nothing; add an option that ends it"
    )


def without_endless(part: Part, lengths: Mapping[str, float]) -> Part:
    """Return a part, of which a text can end, without the options that never do: its texts are the same."""
    match part:
        case Sequence(parts):
            return Sequence(tuple(without_endless(inner, lengths) for inner in parts))
        case Options(options):
            left = [without_endless(one, lengths) for one in options if _length(one, lengths) < math.inf]
            return left[0] if len(left) == 1 else Options(tuple(left))
        case Repeat(inner, least, most):
            if _length(inner, lengths) == math.inf:
                return Sequence(())
            return Repeat(without_endless(inner, lengths), least, most)
        case _:
            return part


def _culprit(rules: Mapping[str, Part], start: str, lengths: Mapping[str, float]) -> str:
    """Return the rule that an endless one is endless by: the last before one comes again."""
    name, seen = start, {start}
    while True:
        following = [used for used in names_in(rules[name]) if lengths[used] == math.inf]
        if not following or following[-1] in seen:
            return name
        name = following[-1]
        seen.add(name)


def _length(part: Part, lengths: Mapping[str, float]) -> float:
    match part:
        case Letter(ranges):
            return 1 if ranges else math.inf
        case Name(name):
            return lengths[name]
        case Sequence(parts):
            return sum((_length(inner, lengths) for inner in parts), 0.0)
        case Options(options):
            return min((_length(option, lengths) for option in options), default=math.inf)
        case Repeat(inner, least):
            return least * _length(inner, lengths) if least else 0
