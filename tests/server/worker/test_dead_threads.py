"""A thread of a worker that dies takes the process with it, and the log has the reason."""

from __future__ import annotations

import subprocess
import sys

from server.worker.__main__ import EXIT_THREAD

INBOX = """
import socket
import threading
from typing import Any

from server.ipc.frames import encode_frame
from server.ipc.messages import Stats
from server.worker.__main__ import end_with_thread
from server.worker.channel import Channel
from server.worker.inbox import Inbox, Serving

threading.excepthook = end_with_thread
ours, theirs = socket.socketpair()
inbox = Inbox(Channel(theirs), lambda: None)
nothing: Any = None
inbox.serve(Serving(nothing, nothing, 0))  # there are no counters to send
inbox.start()
ours.sendall(encode_frame(Stats(id="s")))
ours.recv(1)  # the end of the process, or never
threading.Event().wait()
"""


def test_a_dead_inbox_is_the_end_of_the_worker() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INBOX], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == EXIT_THREAD, done.stderr
    assert "the thread inbox died" in done.stderr
    assert "AttributeError" in done.stderr.splitlines()[-1]
