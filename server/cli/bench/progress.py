"""The progress of a level of `corral bench`: a bar on a terminal, elsewhere a line at its end.

The bar is drawn rarely: the machine may be the one that is measured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from server.cli.bench.report import level_name
from server.cli.console import duration, err, say

if TYPE_CHECKING:
    from server.loadtest.exchange import Capture
    from server.loadtest.session import Level

DRAWS_PER_S = 2
"""The bar is drawn this many times a second."""


@contextmanager
def level_progress(level: Level) -> Iterator[Callable[[Capture], None]]:
    """Show `level` while the block runs; yield a function to call with each exchange that is over."""
    if sys.stderr.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=err(), refresh_per_second=DRAWS_PER_S, transient=True) as bar:
            task = bar.add_task(level_name(level), total=level.n_requests)
            yield lambda _: bar.advance(task)
        return
    began = time.monotonic()
    done = 0

    def count(_: Capture) -> None:
        nonlocal done
        done += 1

    yield count
    say(f"{level_name(level)}: {done} of {level.n_requests} requests in {duration(time.monotonic() - began)}")
