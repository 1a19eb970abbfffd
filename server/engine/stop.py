"""Finds stop strings in text that arrives in pieces, and holds back what may become one."""

from __future__ import annotations


class StopChecker:
    """Lets text through up to the first stop string: the one whose last character comes first, and of those
    the longest. So it doesn't matter how the text is cut into pieces. What may become one is held back.

    ```
    text so far:  |------- let through -------|-- held back --|
                                              could begin a stop string
    ```
    """

    __slots__ = ("_held", "_last_characters", "_stops", "matched")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(dict.fromkeys(stop for stop in stops if stop))
        self._last_characters = frozenset("".join(stop[:-1] for stop in self._stops))
        self._held = ""
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """Text that may be shown now. Once `matched` is set nothing more comes."""
        if not self._stops or not text or self.matched is not None:
            return text if self.matched is None else ""
        text = self._held + text
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            _, start, self.matched = min(found)
            self._held = ""
            return text[:start]
        if text[-1] not in self._last_characters:
            self._held = ""
            return text
        n_shown = len(text) - max(_overlap(text, stop) for stop in self._stops)
        self._held = text[n_shown:]
        return text[:n_shown]

    def flush(self) -> str:
        """What was held back and became no stop string: the text is at its end."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop` and is shorter than it."""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
