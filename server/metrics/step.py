"""`Step`: when a worker's step came, and how many of its tokens follow one of the step before."""

from __future__ import annotations

from server.metrics.histogram import Histogram


class Step:
    """The events that came together. Nearly all streams have one token in each step.

    So the gap before a token is mostly that between two steps, and is counted for all of them at once, by
    `end`. A token then costs its request a comparison and an assignment: in a process that does other things
    between the steps, each further object that is touched is noticed.
    """

    __slots__ = ("gaps", "is_held", "n_tokens", "now_s", "number", "previous")

    def __init__(self, now_s: float, previous: Step | None = None) -> None:
        self.now_s = now_s
        """The time by the monotonic clock."""
        self.previous = previous
        self.number = 0
        self.n_tokens = 0
        """So many tokens each follow one that came with `previous`."""
        self.is_held = False
        """True if a request's latest token came with it."""
        self.gaps: Histogram | None = None
        """The place where their gaps are counted: that of the requests which most likely have tokens next."""
        if previous is not None:
            self.number, self.gaps = previous.number + 1, previous.gaps
            previous.previous = None  # else those of all times would be kept

    def end(self) -> None:
        """Count the gaps, once the step's events have been handed on."""
        if self.n_tokens and self.gaps is not None and self.previous is not None:
            self.gaps.add(self.now_s - self.previous.now_s, self.n_tokens)
        elif not self.is_held:
            self.gaps = None  # those requests don't generate any more
