"""`StopChecker`: finds stop strings in text that arrives in pieces."""

from __future__ import annotations


class StopChecker:
    """Lets text through up to the first stop string, however the text is cut into pieces.

    The first is the one that is complete first, and of those the longest. Text that may become a
    stop string is held back.

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
        """Return the text that may be shown now; none any more once `matched` is set."""
        if not self._stops or not text or self.matched is not None:
            return text if self.matched is None else ""
        text = self._held + text
        matches = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if matches:
            _, start, self.matched = min(matches)
            self._held = ""
            return text[:start]
        if text[-1] not in self._last_characters:
            self._held = ""
            return text
        n_shown = len(text) - max(_overlap(text, stop) for stop in self._stops)
        self._held = text[n_shown:]
        return text[:n_shown]

    def flush(self) -> str:
        """Return the text that was held back and became no stop string. The text is at its end."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop` and is shorter than it."""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
