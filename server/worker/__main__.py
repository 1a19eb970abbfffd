"""`python -m server.worker --fd N`: one model's process, started by the supervisor.

N is its end of a socket pair; with `--pulse M` it shows in the memory M what its engine is at. Ctrl-C in the
terminal is the parent's business and ignored here; SIGTERM lets running requests finish. The process ends
when its socket closes, so it never outlives its parent.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading

logger = logging.getLogger("corral.worker")

TERM_GRACE_S = 30.0
"""After SIGTERM running requests have this many seconds to finish."""
EXIT_THREAD = 4
"""The exit status of a worker of which a thread has died."""
SWITCH_INTERVAL_S = 0.0005
"""Python's threads take turns after this many seconds: when a decode is done, the engine's must not wait."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m server.worker", description="One model's worker process."
    )
    parser.add_argument("--fd", type=int, required=True, help="inherited descriptor of the socket")
    parser.add_argument("--pulse", type=int, default=-1, help="inherited descriptor of the pulse's memory")
    options = parser.parse_args()
    leave_terminal()
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    return serve(options.fd, options.pulse)


def leave_terminal() -> None:
    """Get out of reach of the terminal's signals, within the parent's session.

    Linux may share the cores out among sessions first (`sched_autogroup`): then no process of the parent's
    could give way to what a session of its own computes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)


def serve(fd: int, pulse_fd: int = -1) -> int:
    """Serve over the socket `fd`, with a pulse in the memory `pulse_fd`; return the exit status."""
    # Imported here, as that takes a moment, in which a Ctrl-C may come.
    from server.ipc.pulse import Pulse
    from server.worker.channel import Channel
    from server.worker.worker import EXIT_OK, Worker

    channel = Channel(socket.socket(fileno=fd))
    spec = channel.receive_spec()
    if spec is None:
        return EXIT_OK
    worker = Worker(channel, spec, pulse=Pulse(pulse_fd))
    threading.excepthook = end_with_thread
    signal.signal(signal.SIGTERM, lambda _signal, _frame: worker.drain(TERM_GRACE_S))
    return worker.run()


def end_with_thread(death: threading.ExceptHookArgs) -> None:
    """End the process: without one of its threads it would leave requests without an answer.

    A `threading.excepthook`. The log has the reason, and the supervisor starts another worker.
    """
    name = "?" if death.thread is None else death.thread.name
    logger.critical(
        "the thread %s died, and the worker ends with it", name, exc_info=death.exc_value or death.exc_type()
    )
    logging.shutdown()
    os._exit(EXIT_THREAD)


if __name__ == "__main__":
    try:
        status = main()
    except Exception:  # threads that still compute must not hold it
        logger.critical("the worker met a defect and ends", exc_info=True)
        status = 1
    logging.shutdown()
    os._exit(status)  # llama.cpp's own teardown has nothing to do that the system doesn't
