"""`ControllingTerminal`, on a real terminal that is closed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable

CHILD = """
import os, signal, sys
os.open(sys.argv[1], os.O_RDWR)  # a new session's first terminal becomes its own
from server.hangup import ControllingTerminal
terminal = ControllingTerminal()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
print("closed" if terminal.is_closed else "there", flush=True)
signal.sigwait({signal.SIGHUP})
print("closed" if terminal.is_closed else "there", flush=True)
"""


def test_a_terminal_that_was_closed_is_told_from_a_signal() -> None:
    assert after_hangup(lambda _child, terminal: os.close(terminal)) == "closed\n"
    assert after_hangup(lambda child, _terminal: child.send_signal(signal.SIGHUP)) == "there\n"


def test_a_process_without_a_terminal_has_none_to_lose() -> None:
    code = "from server.hangup import ControllingTerminal; print(ControllingTerminal().is_closed)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, start_new_session=True, capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


def after_hangup(hang_up: Callable[[subprocess.Popen[str], int], None]) -> str:
    """What a process in a terminal of its own sees once it gets SIGHUP."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-c", CHILD, os.ttyname(end)]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        os.close(end)
        hang_up(child, terminal)
        return child.stdout.read()
