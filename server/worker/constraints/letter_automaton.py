"""`LetterAutomaton`: the texts of a part of a grammar without recursion, letter by letter. Pure.

Letters are classes of the grammar's alphabet, sets of them bits of a number (Glushkov's construction: a state
per letter of the expression).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from server.worker.constraints.gbnf import Letter, Name, Options, Part, Repeat, Sequence

MAX_STATES = 2_000


class TooManyStates(Exception):
    """An expression has more letters than are worth a look."""


class Alphabet:
    """Classes of characters that no set of a grammar tells apart."""

    def __init__(self, letters: set[Letter]) -> None:
        edges = sorted(
            {edge for letter in letters for low, high in letter.ranges for edge in (low, high + 1)}
        )
        self._bit = {low: 1 << index for index, low in enumerate(edges)}
        self._edges = edges
        self._masks = {letter: self._mask(letter) for letter in letters}

    def mask(self, letter: Letter) -> int:
        """Return the classes of a set."""
        return self._masks[letter]

    def _mask(self, letter: Letter) -> int:
        return sum(
            self._bit[edge] for edge in self._edges if any(low <= edge <= high for low, high in letter.ranges)
        )


@dataclass(slots=True)
class _Ends:
    """The states at the ends of a part; `empty` if it may be the empty text."""

    first: int = 0
    last: int = 0
    empty: bool = True


@dataclass(slots=True)
class LetterAutomaton:
    """States are bits; `masks` has the letters that lead into each, `following` the states after it."""

    masks: list[int] = field(default_factory=list)
    following: list[int] = field(default_factory=list)
    ends: _Ends = field(default_factory=_Ends)

    @classmethod
    def of(cls, part: Part, rules: Mapping[str, Part], alphabet: Alphabet) -> LetterAutomaton:
        """Return a part's automaton. Raises TooManyStates."""
        automaton = cls()
        automaton.ends = automaton._add(part, rules, alphabet)
        return automaton

    def first_letters(self) -> int:
        """Return the letters that its texts begin with."""
        return self.letters(self.ends.first)

    def letters(self, states: int) -> int:
        """Return the letters that lead into `states`."""
        found = 0
        for state in bits(states):
            found |= self.masks[state]
        return found

    def letters_after(self, other: LetterAutomaton) -> int:
        """Return the letters with which a text of `other` goes on as the beginning of one of these texts."""
        reached = [0] * len(other.masks)
        waiting: list[tuple[int, int]] = [(state, self.ends.first) for state in bits(other.ends.first)]
        found = 0
        while waiting:
            state, candidates = waiting.pop()
            mine = sum(1 << own for own in bits(candidates) if self.masks[own] & other.masks[state])
            new = mine & ~reached[state]
            if not new:
                continue
            reached[state] |= new
            after = 0
            for own in bits(new):
                after |= self.following[own]
            if other.ends.last >> state & 1:
                found |= self.letters(after)
            waiting += [(later, after) for later in bits(other.following[state])]
        return found

    def _add(self, part: Part, rules: Mapping[str, Part], alphabet: Alphabet) -> _Ends:
        match part:
            case Letter():
                if len(self.masks) >= MAX_STATES:
                    raise TooManyStates
                self.masks.append(alphabet.mask(part))
                self.following.append(0)
                state = 1 << (len(self.masks) - 1)
                return _Ends(state, state, empty=False)
            case Name(name):
                return self._add(rules[name], rules, alphabet)
            case Sequence(parts):
                ends = _Ends()
                for inner in parts:
                    ends = self._join(ends, self._add(inner, rules, alphabet))
                return ends
            case Options(options):
                all_ends = [self._add(option, rules, alphabet) for option in options]
                joined = _Ends(empty=any(ends.empty for ends in all_ends))
                for ends in all_ends:
                    joined.first |= ends.first
                    joined.last |= ends.last
                return joined
            case Repeat(inner, least, most):
                return self._repeat(inner, least, most, rules, alphabet)

    def _repeat(
        self, part: Part, least: int, most: int | None, rules: Mapping[str, Part], alphabet: Alphabet
    ) -> _Ends:
        ends = _Ends()
        for index in range(max(least, 1) if most is None else most):
            once = self._add(part, rules, alphabet)
            if most is None and index == max(least, 1) - 1:
                self._join(once, once)
            if index >= least:
                once.empty = True
            ends = self._join(ends, once)
        return ends

    def _join(self, one: _Ends, other: _Ends) -> _Ends:
        for state in bits(one.last):
            self.following[state] |= other.first
        return _Ends(
            one.first | (other.first if one.empty else 0),
            other.last | (one.last if other.empty else 0),
            one.empty and other.empty,
        )


def bits(states: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set."""
    while states:
        lowest = states & -states
        yield lowest.bit_length() - 1
        states ^= lowest
