"""The collection of moments by a command, with progress; interrupted, it keeps what is summed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from quantize.control import Cancelled
from quantize.evaluate.windows import TextPlan
from quantize.moments.collect import MomentControl, MomentMeans, collect_moments
from quantize.moments.layout import MomentInfo
from server.cli.console import say
from server.cli.progress import count_progress

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def collect(model_path: Path, plan: TextPlan, target: Path, *, label: str, means: MomentMeans) -> MomentInfo:
    """Write the moments to `target` as `collect_moments` does.

    Ends the command, with a word of what was kept, when a signal interrupts it. Raises what
    `collect_moments` raises.
    """
    with _signals() as signals, count_progress("chunks") as done:
        try:
            return collect_moments(
                model_path,
                plan,
                target,
                label=label,
                means=means,
                control=MomentControl(
                    on_resume=lambda n, total: say(
                        f"resuming: {n} of {total} inputs were done by an earlier run"
                    ),
                    on_chunks=done,
                    cancel=signals.cancel,
                ),
            )
        except Cancelled:
            say(f"interrupted; what is summed is kept beside {target}: the same command goes on")
            raise typer.Exit(_EXIT_CODES[signals.received]) from None


class _Signals:
    """Ctrl-C and SIGTERM as an event. `received`: the signal that came."""

    def __init__(self) -> None:
        self.cancel = threading.Event()
        self.received = signal.SIGINT

    def on_signal(self, number: int, _frame: object) -> None:
        """Set the event; the same signal once more ends the process as ever."""
        self.received = signal.Signals(number)
        self.cancel.set()
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextmanager
def _signals() -> Iterator[_Signals]:
    """Let the signals set an event while the block runs; only the main thread may say what they do."""
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals.on_signal) for number in _EXIT_CODES}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
