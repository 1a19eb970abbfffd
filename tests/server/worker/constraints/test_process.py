"""The process that checks grammars: its limits, its forks, its ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import psutil
import pytest

from models.errors import RequestError
from models.machine.allowance import Allowance
from server.ipc.constraint import Constraint
from server.worker.constraints.checker import Limits, Outcome
from server.worker.constraints.grammar_text import GrammarRequest
from server.worker.constraints.process import RETRY_AFTER_S, GrammarProcess, NoTime, Unfinished
from tests.server.worker.constraints.patience import PATIENCE_S, unhurried

FINE = GrammarRequest(param="form", constraint=Constraint(kind="json_object", text="", param="form"))
PATTERNS = ", ".join(f'{{"type": "string", "pattern": "a.{{{i}}}b.*c.*d"}}' for i in range(60))
DEAR = GrammarRequest(
    param="form", constraint=Constraint(kind="json_schema", text=f'{{"allOf": [{PATTERNS}]}}', param="form")
)
"""A grammar that takes longer than any limit here."""


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[GrammarProcess]:
    limits = getattr(request, "param", Limits(cpu_s=0.3, wall_s=PATIENCE_S))
    made = GrammarProcess(limits, unhurried())
    yield made
    made.close()


def family(process: GrammarProcess) -> list[psutil.Process]:
    """Return the child and its fork, as far as they live."""
    child = process._child
    assert child is not None
    parent = psutil.Process(child.pid)
    return [parent, *parent.children()]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_limit_ends_a_fork_and_the_child_goes_on(process: GrammarProcess) -> None:
    text = process.grammar(FINE).text
    (child,) = family(process)
    with pytest.raises(RequestError, match=r"'form' can't be held: it takes more than 0\.3 s") as caught:
        process.grammar(DEAR)
    assert (caught.value.param, caught.value.code) == ("form", "unsupported_grammar")
    assert not isinstance(caught.value, Unfinished)
    assert process.grammar(FINE).text == text
    assert family(process) == [child]


@pytest.mark.parametrize("process", [Limits(cpu_s=0.1, wall_s=0.3)], indirect=True)
def test_a_dear_grammar_that_the_clock_ends_may_do_at_another_time(
    process: GrammarProcess,
) -> None:
    outcome = Outcome(signal=signal.SIGALRM, cpu_s=0.03)
    assert isinstance(process._epitaph(DEAR, outcome), Unfinished)
    with pytest.raises(NoTime, match=r"'form' isn't compiled: the machine had no time") as caught:
        raise process._epitaph(DEAR, msgspec.structs.replace(outcome, cpu_s=0.02))
    assert caught.value.retry_after_s == RETRY_AFTER_S


@pytest.mark.parametrize("process", [Limits(cpu_s=60, wall_s=0.2)], indirect=True)
def test_a_limit_of_the_clock_ends_what_the_machine_had_no_time_for(process: GrammarProcess) -> None:
    with pytest.raises(NoTime, match=r"had no time for it within 0\.2 s beside other work; try again"):
        process.grammar(DEAR)


@pytest.mark.parametrize("process", [Limits(memory_bytes=1 << 28, wall_s=PATIENCE_S)], indirect=True)
def test_a_grammar_without_memory_or_stack_is_refused(process: GrammarProcess) -> None:
    rules = "\n".join(f"r{i}: r{i + 1}?" for i in range(20_000))
    text = f'{rules}\nr20000: "a"\nstart: r0'
    deep = GrammarRequest(param="form", constraint=Constraint(kind="lark", text=text, param="form"))
    with pytest.raises(RequestError, match=r"256 MiB or nests too deeply|more than 2 s") as caught:
        process.grammar(deep)
    assert caught.value.param == "form"
    assert process.grammar(FINE).text


@pytest.mark.parametrize("process", [Limits(cpu_s=PATIENCE_S, wall_s=PATIENCE_S)], indirect=True)
@pytest.mark.skipif(sys.platform != "linux", reason="the class of idle work is Linux's")
def test_dear_work_has_what_is_left_and_ends_with_its_process(process: GrammarProcess) -> None:
    process._allowance = Allowance(lambda: 0.0)
    process.grammar(FINE)
    thread = threading.Thread(target=process._exchange, args=(msgspec.json.encode(DEAR),))
    thread.start()
    until(lambda: len(family(process)) == 2)
    child, fork = family(process)
    until(lambda: os.sched_getscheduler(fork.pid) == os.SCHED_IDLE)
    assert os.sched_getscheduler(child.pid) == os.sched_getscheduler(0), "the next grammar is quick again"
    process._close()  # as at the end of the worker, which doesn't wait for a grammar
    thread.join(60)
    assert not thread.is_alive()
    until(lambda: not fork.is_running() or fork.status() == psutil.STATUS_ZOMBIE)
    assert not child.is_running()


@pytest.mark.parametrize("process", [Limits(cpu_s=PATIENCE_S, wall_s=PATIENCE_S)], indirect=True)
def test_a_fork_ends_when_nobody_waits_for_it(process: GrammarProcess) -> None:
    """The worker may be killed: then its pipes are closed, and nothing else says so."""
    process.grammar(FINE)
    child = process._child
    assert child is not None
    assert child.stdin is not None
    thread = threading.Thread(target=process._exchange, args=(msgspec.json.encode(DEAR),))
    thread.start()
    until(lambda: len(family(process)) == 2)
    _, fork = family(process)
    child.stdin.close()
    thread.join(60)
    until(lambda: not fork.is_running())
    assert child.wait(30) == 0


def test_a_child_that_was_killed_is_started_again(process: GrammarProcess) -> None:
    process.grammar(FINE)
    (child,) = family(process)
    child.send_signal(signal.SIGKILL)
    assert process.grammar(FINE).text
    assert family(process) != [child]
