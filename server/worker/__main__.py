"""`python -m server.worker --fd N`: one model's process, started by the supervisor.

N is its end of a socket pair. Ctrl-C in the terminal is the parent's business and ignored here; SIGTERM lets
running requests finish. The process ends when its socket closes, so it never outlives its parent.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys

from server.worker.channel import Channel
from server.worker.worker import EXIT_OK, Worker

TERM_GRACE_S = 30.0
"""After SIGTERM running requests have this many seconds to finish."""
SWITCH_INTERVAL_S = 0.0005
"""Python's threads take turns after this many seconds: when a decode is done, the engine's must not wait."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m server.worker", description="One model's worker process."
    )
    parser.add_argument("--fd", type=int, required=True, help="inherited descriptor of the socket")
    fd: int = parser.parse_args().fd
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    channel = Channel(socket.socket(fileno=fd))
    spec = channel.receive_spec()
    if spec is None:
        return EXIT_OK
    worker = Worker(channel, spec)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: worker.drain(TERM_GRACE_S))
    return worker.run()


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # llama.cpp's own teardown has nothing to do that the system doesn't
