"""`GrammarProcess`: a child process that makes and checks grammars within hard limits.

A hostile grammar can take hours, gigabytes or the stack of whoever compiles it; here it takes a fork of the
child (`checker`). Parent and child talk in JSON lines over the child's stdin and stdout. A child that was
ended is started again by the next request.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import weakref
from typing import Any

import msgspec

from models.errors import CorralError, RequestError, WorkerBusy
from models.machine.allowance import Allowance
from models.machine.child_process import end_child, module_command
from server.worker.constraints import checker
from server.worker.constraints.checker import EncodedJob, Limits, Outcome
from server.worker.constraints.grammar_text import Grammar, GrammarRequest

RETRY_AFTER_S = 5.0
"""A machine that had no time for a grammar is asked again after so many seconds."""
_DEAR_SHARE = 0.25
"""A grammar that has had this share of its computing time isn't one of those that only need a moment."""


class Unfinished(RequestError):
    """A dear grammar that another moment of the machine might be done with."""


class NoTime(WorkerBusy):
    """The machine is too busy for any grammar: it is no fault of the client's."""


class GrammarProcess:
    """The child. Thread-safe; one grammar at a time."""

    def __init__(self, limits: Limits | None = None, allowance: Allowance | None = None) -> None:
        """`allowance`: the time in which the work on grammars doesn't give way to everything else."""
        self._limits = limits or Limits()
        self._allowance = allowance or Allowance()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._end_child: Any = None

    def start(self) -> None:
        """Start the child without waiting for it."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._running_child()

    def grammar(self, request: GrammarRequest, encoded: bytes | None = None) -> Grammar:
        """Return a grammar that llguidance takes. Raises RequestError for any other, and at the limits.

        NoTime is raised where only the machine is at its limit. `encoded`: the request as JSON, if it is
        there already.
        """
        encoded = encoded or msgspec.json.encode(request)
        with self._lock:
            line = self._exchange(encoded) or self._exchange(encoded)  # it may have ended since the last one
        outcome = msgspec.json.decode(line, type=Outcome) if line else Outcome()
        if outcome.grammar is not None:
            return outcome.grammar
        if outcome.problem is not None:
            raise RequestError(outcome.problem, outcome.param, outcome.code)
        raise self._epitaph(request, outcome)

    def close(self) -> None:
        """End the child. The object may be used again, which starts another."""
        with self._lock:
            self._close()

    def _exchange(self, request: bytes) -> bytes:
        """Return the child's reply; nothing if it has ended, which makes way for another."""
        quick_s, begin = self._allowance.offer(), time.monotonic()
        line = b""
        with contextlib.suppress(BrokenPipeError):
            child = self._running_child()
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(msgspec.json.encode(EncodedJob(msgspec.Raw(request), quick_s)) + b"\n")
            child.stdin.flush()
            line = child.stdout.readline()
        self._allowance.spend(min(quick_s, time.monotonic() - begin))
        if not line:
            self._close()
        return line

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._close()
        child = subprocess.Popen(
            module_command(checker.__name__),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,  # its fork ends with it, and Ctrl-C doesn't reach them: the parent decides
        )
        self._child, self._end_child = child, weakref.finalize(self, _end, child)
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(self._limits) + b"\n")
        child.stdin.flush()
        return child

    def _close(self) -> None:
        if self._end_child is not None:
            self._end_child()
        self._child = self._end_child = None

    def _epitaph(self, request: GrammarRequest, outcome: Outcome) -> CorralError:
        limits, field, kind = self._limits, request.field, RequestError
        if outcome.signal == signal.SIGPROF:
            problem = f"takes more than {limits.cpu_s:g} s to compile"
        elif outcome.signal in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
            problem = f"takes more than {limits.memory_bytes >> 20} MiB or nests too deeply to compile"
        elif outcome.signal == signal.SIGALRM and outcome.cpu_s < _DEAR_SHARE * limits.cpu_s:
            problem = f"had no time for it within {limits.wall_s:g} s beside other work"
            return NoTime(f"'{field}' isn't compiled: the machine {problem}; try again", RETRY_AFTER_S)
        elif outcome.signal == signal.SIGALRM:
            problem, kind = f"takes more than {limits.wall_s:g} s to compile beside other work", Unfinished
        else:
            problem, kind = "ended the process that compiles it", Unfinished
        return kind(f"'{field}' can't be held: it {problem}; make it simpler", field, "unsupported_grammar")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child that leads a group, and its fork."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    end_child(child)
