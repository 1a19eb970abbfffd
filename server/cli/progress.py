"""Progress on stderr: a bar with bytes, rate and time left on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.cli.console import duration, err, say, size

LINE_EVERY_S = 5.0

Update = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


@contextmanager
def byte_progress(label: str) -> Iterator[Update]:
    """Shows how far `label` is for as long as the block runs; nothing if nothing is reported."""
    if sys.stderr.isatty():
        with _bar(label) as update:
            yield update
    else:
        yield PlainLines(label)


class PlainLines:
    """At most one line every `LINE_EVERY_S`, and one at the end."""

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._began = clock()
        self._told = self._began
        self._first_done: int | None = None
        self._finished = False

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._first_done is None:
            self._first_done = done
        finished = total > 0 and done >= total
        if self._finished or (not finished and now - self._told < LINE_EVERY_S):
            return
        self._finished = finished
        self._told = now
        say(f"{self._label}: {progress_line(done, total, done - self._first_done, now - self._began)}")


def progress_line(done: int, total: int, moved: int, seconds: float) -> str:
    """`37 % of 1.20 GiB, 54.1 MiB/s, 14 s left`; `moved` bytes took `seconds`."""
    text = f"{100 * done // total if total else 0} % of {size(total)}"
    if seconds <= 0 or moved <= 0:
        return text
    rate = moved / seconds
    text += f", {size(int(rate))}/s"
    return text + (
        f", {duration((total - done) / rate)} left" if done < total else f" in {duration(seconds)}"
    )


@contextmanager
def _bar(label: str) -> Iterator[Update]:
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
