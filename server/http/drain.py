"""`Drain`: the word for monitors, at `/ready`, that this server is about to close its listener."""

from __future__ import annotations


class Drain:
    """Begins once, when the server is asked to stop: requests are still served, and new ones go elsewhere."""

    def __init__(self) -> None:
        self.has_begun = False

    def begin(self) -> None:
        """Tell monitors from now on that this server takes no more."""
        self.has_begun = True
