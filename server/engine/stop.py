"""`StopChecker`: finds stop strings in text that arrives in pieces."""

from __future__ import annotations

from bisect import bisect_left


class StopStrings:
    """The stop strings of a request, arranged so that thousands cost a step hardly more than one.

    Immutable; the choices of a request share it.
    """

    __slots__ = ("_by_end", "_inner_characters", "_most_held", "_sorted")

    def __init__(self, stops: tuple[str, ...]) -> None:
        """Empty strings stop nothing."""
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


class StopChecker:
    """Lets text through up to the first stop string, however the text is cut into pieces.

    The first is the one that is complete first, and of those the longest. Text that may become a
    stop string is held back.

    ```
    text so far:  |------- let through -------|-- held back --|
                                              could begin a stop string
    ```
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
        found = self._stops.first_in(text, n_held)
        if found is not None:
            start, self.matched = found
            self._held = ""
            return text[:start]
        n_shown = self._stops.begun_at(text)
        self._held = text[n_shown:]
        return text[:n_shown]

    def flush(self) -> str:
        """Return the text that was held back and became no stop string. The text is at its end."""
        held, self._held = self._held, ""
        return held
