"""Progress on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.cli.console import duration, err, say, size

LINE_EVERY_S = 5.0
"""Elsewhere than on a terminal, lines of progress are at least this many seconds apart."""

Update = Callable[[int, int], None]
"""A function that is called with how much is done and how much there is in all."""


@contextmanager
def byte_progress(label: str) -> Iterator[Update]:
    """Show how many bytes of `label` are done while the block runs; nothing if nothing is reported."""
    if sys.stderr.isatty():
        with _byte_bar(label) as update:
            yield update
    else:
        yield ByteLines(label)


@contextmanager
def count_progress(label: str) -> Iterator[Update]:
    """Show how many of `label` are done while the block runs; nothing if nothing is reported."""
    if sys.stderr.isatty():
        with _count_bar(label) as update:
            yield update
    else:
        yield CountLines(label)


class ByteLines:
    """Lines with bytes, rate and time left: one every `LINE_EVERY_S` at most, and one at the end."""

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._began = self._last_line = clock()
        self._first_done: int | None = None
        self._finished = False

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._first_done is None:
            self._first_done = done
        finished = total > 0 and done >= total
        if self._finished or (not finished and now - self._last_line < LINE_EVERY_S):
            return
        self._finished = finished
        self._last_line = now
        say(f"{self._label}: {byte_line(done, total, done - self._first_done, now - self._began)}")


class CountLines:
    """Lines with a number and the time left: one every `LINE_EVERY_S` at most, and one at the end."""

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._began = self._last_line = clock()

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if done < total and now - self._last_line < LINE_EVERY_S:
            return
        self._last_line = now
        seconds = now - self._began
        left = f", {duration(seconds / done * (total - done))} left" if 0 < done < total else ""
        say(f"{self._label}: {done} of {total}{left}")


def byte_line(done: int, total: int, moved: int, seconds: float) -> str:
    """Return `37 % of 1.20 GiB, 54.1 MiB/s, 14 s left`, where `moved` bytes took `seconds`."""
    text = f"{100 * done // total if total else 0} % of {size(total)}"
    if seconds <= 0 or moved <= 0:
        return text
    rate = moved / seconds
    text += f", {size(int(rate))}/s"
    return text + (
        f", {duration((total - done) / rate)} left" if done < total else f" in {duration(seconds)}"
    )


@contextmanager
def _byte_bar(label: str) -> Iterator[Update]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=err()) as progress:
        task = progress.add_task(label, total=None, visible=False)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        yield update


@contextmanager
def _count_bar(label: str) -> Iterator[Update]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
