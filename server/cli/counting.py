"""Progress by number on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.cli.console import duration, err, say
from server.cli.progress import LINE_EVERY_S

Count = Callable[[int, int], None]
"""Called with how many are done, and how many there are."""


@contextmanager
def count_progress(label: str) -> Iterator[Count]:
    """Shows how many of `label` are done for as long as the block runs; nothing if nothing is reported."""
    if not sys.stderr.isatty():
        yield Lines(label)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class Lines:
    """At most one line every `LINE_EVERY_S`, and one at the end."""

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._began = self._told = clock()

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if done < total and now - self._told < LINE_EVERY_S:
            return
        self._told = now
        seconds = now - self._began
        left = f", {duration(seconds / done * (total - done))} left" if 0 < done < total else ""
        say(f"{self._label}: {done} of {total}{left}")
