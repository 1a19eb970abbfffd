"""`GrammarProcess`: a child process that makes and checks grammars within hard limits.

A hostile grammar can take hours, gigabytes or the stack of whoever compiles it; here it takes a child.
`GrammarProcess` is the parent's side; `python -m server.worker.constraints.process` is the child. They talk
in JSON lines over the child's stdin and stdout. The kernel enforces the limits. A child that was ended is
started again by the next request.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import weakref
from typing import IO, Any

import msgspec

from models.errors import RequestError
from models.machine.child_process import end_child, module_command
from server.worker.constraints.check import checked_grammar
from server.worker.constraints.grammar_text import Grammar, GrammarRequest

NICENESS = 5
"""The child gives way to the threads that decode: a core that both want goes to them three times in four."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one grammar. A large honest one takes a tenth of a second."""

    cpu_s: float = 2.0
    wall_s: float = 20.0
    memory_bytes: int = 1 << 30


class _Outcome(msgspec.Struct, frozen=True):
    grammar: Grammar | None = None
    problem: str | None = None
    param: str | None = None
    code: str | None = None


class GrammarProcess:
    """The child. Thread-safe; one grammar at a time."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._end_child: Any = None

    def start(self) -> None:
        """Start the child without waiting for it."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._running_child()

    def grammar(self, request: GrammarRequest) -> Grammar:
        """Return a grammar that llguidance takes. Raises RequestError for any other, and at the limits."""
        job = msgspec.json.encode(request) + b"\n"
        with self._lock:
            line = self._exchange(job)
            if not line and self._limit_that_ended() is None and not self._crashed():
                line = self._exchange(job)  # the child had ended between two requests
            if not line:
                raise self._epitaph(request)
        outcome = msgspec.json.decode(line, type=_Outcome)
        if outcome.grammar is None:
            raise RequestError(outcome.problem or "the grammar is refused", outcome.param, outcome.code)
        return outcome.grammar

    def close(self) -> None:
        """End the child. The object may be used again, which starts another."""
        with self._lock:
            self._close()

    def _exchange(self, job: bytes) -> bytes:
        try:
            child = self._running_child()
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(job)
            child.stdin.flush()
            return child.stdout.readline()
        except BrokenPipeError:
            return b""

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._close()
        child = subprocess.Popen(
            module_command(__name__),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._child, self._end_child = child, weakref.finalize(self, end_child, child)
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(self._limits) + b"\n")
        child.stdin.flush()
        return child

    def _close(self) -> None:
        if self._end_child is not None:
            self._end_child()
        self._child = self._end_child = None

    def _status(self) -> int | None:
        return None if self._child is None else self._child.wait()

    def _limit_that_ended(self) -> str | None:
        status = self._status()
        if status == -signal.SIGPROF:
            return f"takes more than {self._limits.cpu_s:g} s to compile"
        if status == -signal.SIGALRM:
            return f"takes more than {self._limits.wall_s:g} s to compile"
        return None

    def _crashed(self) -> bool:
        return self._status() in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)

    def _epitaph(self, request: GrammarRequest) -> RequestError:
        problem = self._limit_that_ended() or (
            f"takes more than {self._limits.memory_bytes >> 20} MiB or nests too deeply to compile"
            if self._crashed()
            else "ended the process that compiles it"
        )
        param = request.constraint.param if request.constraint is not None else request.param
        return RequestError(
            f"'{param}' can't be held: it {problem}; make it simpler", param, "unsupported_grammar"
        )


# --- the child ----------------------------------------------------------------------------------------------


def _limit_memory(n_bytes: int) -> None:
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        _, hard = resource.getrlimit(limit)
        ceiling = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (ceiling, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _timers(cpu_s: float, wall_s: float) -> None:
    """Start both timers; 0 stops them."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


def _outcome(line: bytes) -> _Outcome:
    request = msgspec.json.decode(line, type=GrammarRequest)
    param = request.constraint.param if request.constraint is not None else request.param
    try:
        return _Outcome(grammar=checked_grammar(request))
    except RequestError as error:
        return _Outcome(problem=error.message, param=error.param, code=error.code)
    except RecursionError:
        problem = "is nested too deeply; make it flatter"
    except MemoryError:
        problem = "needs too much memory to compile; make it simpler"
    return _Outcome(problem=f"'{param}' can't be held: it {problem}", param=param, code="unsupported_grammar")


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer jobs until `requests` ends."""
    import llguidance  # noqa: F401  # loaded before the limits, so that they are a grammar's alone

    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    limits = msgspec.json.decode(requests.readline(), type=Limits)
    _limit_memory(limits.memory_bytes)
    while line := requests.readline():
        _timers(limits.cpu_s, limits.wall_s)
        reply = msgspec.json.encode(_outcome(line))
        _timers(0, 0)
        replies.write(reply + b"\n")
        replies.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
