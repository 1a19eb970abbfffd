"""The process that makes and checks grammars, each in a fork of its own within hard limits.

`python -m server.worker.constraints.checker` reads its limits and then jobs, as JSON lines; `process` starts
it. A fork has llguidance loaded already, the kernel enforces its limits, and one that was ended takes nothing
along.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from typing import IO

import msgspec

from models.errors import RequestError
from models.machine.priority import take_what_is_left
from models.machine.process_limits import limit_memory, set_timers
from server.ipc.constraint import Constraint
from server.worker.constraints.check import checked_grammar
from server.worker.constraints.grammar_text import Grammar, GrammarRequest

_CHUNK = 1 << 16
_FIRST = GrammarRequest(param="", constraint=Constraint(kind="json_object", text="", param=""))


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one grammar. A large honest one takes a tenth of a second."""

    cpu_s: float = 2.0
    wall_s: float = 10.0
    memory_bytes: int = 1 << 30


class Job(msgspec.Struct, frozen=True):
    """A grammar to check. After `quick_s` seconds the work on it gives way to everything else."""

    request: GrammarRequest
    quick_s: float


class EncodedJob(msgspec.Struct, frozen=True):
    """A `Job` whose request is encoded already."""

    request: msgspec.Raw
    quick_s: float


class Outcome(msgspec.Struct, frozen=True):
    """The grammar, or why there is none: a problem in words, or the signal that ended the work (0: none).

    `cpu_s`: what work that was ended had computed until then.
    """

    grammar: Grammar | None = None
    problem: str | None = None
    param: str | None = None
    code: str | None = None
    signal: int = 0
    cpu_s: float = 0.0


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer jobs until `requests` ends."""
    limits = msgspec.json.decode(requests.readline(), type=Limits)
    checked_grammar(_FIRST)  # llguidance is loaded, and what is made at first use is there
    gc.freeze()
    while line := requests.readline():
        job = msgspec.json.decode(line, type=Job)
        replies.write(_forked(job, limits, requests.fileno(), replies.fileno()) + b"\n")
        replies.flush()


def _forked(job: Job, limits: Limits, parent: int, replies: int) -> bytes:
    """Return the encoded `Outcome` of a fork; of one that the limits have ended, the signal."""
    begin = time.monotonic()
    pipe, own_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(parent)
        os.close(replies)  # else the parent would wait for a fork whose origin has been killed
        _work(job, limits, own_end)
    os.close(own_end)
    reply = b""
    try:
        quick_s = job.quick_s
        is_quick = True
        while True:
            if is_quick and time.monotonic() - begin >= quick_s:
                is_quick = False
                take_what_is_left(pid)
            wait_s = max(0.0, quick_s - (time.monotonic() - begin)) if is_quick else None
            ready, _, _ = select.select([pipe, parent], [], [], wait_s)
            if pipe in ready:
                if not (part := os.read(pipe, _CHUNK)):
                    break
                reply += part
            elif ready:  # it sends one job at a time, so this is its end
                os.kill(pid, signal.SIGKILL)
                break
    finally:
        os.close(pipe)
        _, status, used = os.wait4(pid, 0)
    if status == 0 and reply:
        return reply
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return msgspec.json.encode(Outcome(signal=ended_by, cpu_s=used.ru_utime + used.ru_stime))


def _work(job: Job, limits: Limits, pipe: int) -> None:
    """Be the fork: write the outcome, and end."""
    status = 1
    try:
        limit_memory(limits.memory_bytes)
        set_timers(limits.cpu_s, limits.wall_s)
        rest = memoryview(msgspec.json.encode(_outcome(job.request)))
        while rest:
            rest = rest[os.write(pipe, rest) :]
        status = 0
    finally:
        os._exit(status)


def _outcome(request: GrammarRequest) -> Outcome:
    try:
        return Outcome(grammar=checked_grammar(request))
    except RequestError as error:
        return Outcome(problem=error.message, param=error.param, code=error.code)
    except RecursionError:
        problem = "is nested too deeply; make it flatter"
    except MemoryError:
        problem = "needs too much memory to compile; make it simpler"
    param = request.field
    return Outcome(problem=f"'{param}' can't be held: it {problem}", param=param, code="unsupported_grammar")


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
