"""`ends_by_sigterm`: a SIGTERM, as `timeout` sends it, ends a measurement with all that it has started."""

from __future__ import annotations

import signal
import threading


def ends_by_sigterm() -> None:
    """Let a SIGTERM end this program as an exit does: what it has started is ended on the way out.

    A handler that somebody else has set stays. Does nothing outside the main thread, which gets all signals.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not cut the ending short
    raise SystemExit(128 + number)
