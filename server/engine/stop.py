"""`StopChecker`: finds stop strings in text that arrives in pieces, and in tokens that have no text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

_FIRST_MARK = 0xD800  # lone surrogates: no text has them
_N_MARKS = 2048


class StopStrings:
    """The stop strings of a request, arranged so that thousands cost a step hardly more than one.

    Immutable; the choices of a request share it.
    """

    __slots__ = ("_by_end", "_inner_characters", "_most_held", "_sorted", "named")

    def __init__(self, stops: tuple[str, ...], tokens: Mapping[int, str] | None = None) -> None:
        """Empty strings stop nothing. `tokens`: those without text that stop strings name, with the names."""
        self.named = NamedTokens(stops, tokens) if tokens else None
        self._sorted = sorted({stop for stop in stops if stop})
        self._by_end: dict[str, list[str]] = {}
        for stop in sorted(self._sorted, key=len, reverse=True):
            self._by_end.setdefault(stop[-1], []).append(stop)
        self._inner_characters = frozenset("".join(stop[:-1] for stop in self._sorted))
        self._most_held = max((len(stop) - 1 for stop in self._sorted), default=0)

    def __bool__(self) -> bool:
        return bool(self._sorted)

    def first_in(self, text: str, n_old: int) -> tuple[int, str] | None:
        """Return the place and the stop string that is whole first, and of those the longest.

        None has been whole in the first `n_old` characters.
        """
        for end in range(n_old + 1, len(text) + 1):
            for stop in self._by_end.get(text[end - 1], ()):
                if text.endswith(stop, 0, end):
                    return end - len(stop), stop
        return None

    def begun_at(self, text: str) -> int:
        """Return the place from which on the end of `text` could begin a stop string; its length: nowhere."""
        n = len(text)
        if not text or text[-1] not in self._inner_characters:
            return n
        for start in range(max(0, n - self._most_held), n):
            end = text[start:]
            at = bisect_left(self._sorted, end)
            if at < len(self._sorted) and self._sorted[at].startswith(end):
                return start
        return n


class NamedTokens:
    """The tokens without text that stop strings name. In what was said, a mark stands for each."""

    __slots__ = ("marks", "originals", "strings")

    def __init__(self, stops: tuple[str, ...], tokens: Mapping[int, str]) -> None:
        names = dict.fromkeys(sorted(tokens.values(), key=len, reverse=True))  # a name may be in a longer one
        marks = {name: chr(_FIRST_MARK + at) for at, name in enumerate(names) if at < _N_MARKS}
        self.marks = {token: marks[name] for token, name in tokens.items() if name in marks}
        """The mark of each token, the same for tokens of one name."""
        self.originals: dict[str, str] = {}
        """The stop strings that name tokens, by their forms with marks in place of the names."""
        for stop in stops:
            form = stop
            for name, mark in marks.items():
                form = form.replace(name, mark)
            if form != stop:
                self.originals[form] = stop
        self.strings = StopStrings(tuple(self.originals))
        """The forms with marks."""


class StopChecker:
    """Lets text through up to the first stop string, however the text is cut into pieces.

    The first is the one that is complete first, and of those the longest. Text that may become a
    stop string is held back.

    ```
    text so far:  |------- let through -------|-- held back --|
                                              could begin a stop string
    ```

    A stop string may name tokens that have no text, such as `</s>`: alone, or with text around them. `token`
    takes them in. They are never shown, and don't part the text that is.
    """

    __slots__ = ("_held", "_stops", "matched")

    def __init__(self, stops: StopStrings) -> None:
        self._stops = stops
        self._held = ""
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """Return the text that may be shown now; none any more once `matched` is set."""
        if not self._stops or not text or self.matched is not None:
            return text if self.matched is None else ""
        n_held, text = len(self._held), self._held + text
        if self._stops.named is not None:
            return self._feed_marked(self._stops.named, text, n_held)
        found = self._stops.first_in(text, n_held)
        if found is not None:
            start, self.matched = found
            self._held = ""
            return text[:start]
        n_shown = self._stops.begun_at(text)
        self._held = text[n_shown:]
        return text[:n_shown]

    def token(self, token: int) -> str:
        """Take in a token without text; return the text that may be shown now."""
        named = self._stops.named
        mark = None if named is None else named.marks.get(token)
        return "" if mark is None else self.feed(mark)

    def flush(self) -> str:
        """Return the text that was held back and became no stop string. The text is at its end."""
        held, self._held = self._held, ""
        return held if self._stops.named is None else _without_marks(held)

    def _feed_marked(self, named: NamedTokens, text: str, n_held: int) -> str:
        """Do as `feed` does with text that has marks, which stop strings without names don't see."""
        places = [at for at, character in enumerate(text) if not _is_mark(character)]
        shown, n_shown = _without_marks(text), len(_without_marks(text[:n_held]))
        matches: list[tuple[int, int, str]] = []
        if (found := self._stops.first_in(shown, n_shown)) is not None:
            start, stop = found
            matches.append((places[start + len(stop) - 1] + 1, places[start], stop))
        if (found := named.strings.first_in(text, n_held)) is not None:
            start, form = found
            matches.append((start + len(form), start, named.originals[form]))
        if matches:
            _, start, self.matched = min(matches)
            self._held = ""
            return _without_marks(text[:start])
        begun_at = self._stops.begun_at(shown)
        begun_at = places[begun_at] if begun_at < len(places) else len(text)
        begun_at = min(begun_at, named.strings.begun_at(text))
        self._held = text[begun_at:]
        return _without_marks(text[:begun_at])


def _is_mark(character: str) -> bool:
    return _FIRST_MARK <= ord(character) < _FIRST_MARK + _N_MARKS


def _without_marks(text: str) -> str:
    return "".join(character for character in text if not _is_mark(character))
