from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator

import psutil
import pytest

from models.errors import CorralError, RequestError
from models.machine.allowance import Allowance
from models.machine.priority import take_what_is_left
from server.http.body_processes import BodyProcesses
from server.openai.requests.body_limits import SHORT_BYTES, SHORT_ELEMENTS
from server.openai.requests.reading import QuestionRead, ReadJob

JOB = ReadJob(purpose="tokenize")


@pytest.fixture
def processes() -> Iterator[BodyProcesses]:
    made = BodyProcesses()
    yield made
    made.close()


def child(processes: BodyProcesses) -> int:
    (pid,) = processes.pids
    return pid


async def test_one_process_reads_one_body_after_another(processes: BodyProcesses) -> None:
    for text in ("a", "é"):
        body = [b'{"content":', f'"{text}"}}'.encode()]
        read = await processes.read(JOB, body)
        assert isinstance(read, QuestionRead)
        assert body == []
    assert processes.n_started == 1


async def test_an_error_leaves_the_process_ready(processes: BodyProcesses) -> None:
    with pytest.raises(RequestError, match="content"):
        await processes.read(JOB, [b"{}"])
    await processes.read(JOB, [b'{"content":""}'])
    assert processes.n_started == 1


@pytest.mark.parametrize("n_bytes", [500_000, SHORT_BYTES])
async def test_bodies_are_read_side_by_side(processes: BodyProcesses, n_bytes: int) -> None:
    body = b'{"content":"' + b"a" * n_bytes + b'"}'
    await asyncio.gather(*[processes.read(JOB, [body]) for _ in range(8)])
    assert processes.n_started == 2


@pytest.mark.parametrize("long", [b'"' + b"a" * SHORT_BYTES + b'"', b"[" + b"1," * SHORT_ELEMENTS + b"1]"])
async def test_a_short_body_waits_for_no_long_one(processes: BodyProcesses, long: bytes) -> None:
    """The processes of long bodies are stopped here, so that they read for as long as the test likes."""
    body = b'{"content":"","unknown":' + long + b"}"
    await asyncio.gather(*[processes.read(JOB, [body]) for _ in range(4)])
    stopped = processes.pids
    assert len(stopped) == 2
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    reading = [asyncio.create_task(processes.read(JOB, [body])) for _ in range(4)]
    try:
        await asyncio.wait_for(processes.read(JOB, [b'{"content":"' + b"a" * 200_000 + b'"}']), 30)
        assert not any(task.done() for task in reading)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    await asyncio.gather(*reading)


async def test_a_process_that_was_ended_meanwhile_is_started_again(processes: BodyProcesses) -> None:
    await processes.read(JOB, [b'{"content":""}'])
    os.kill(child(processes), signal.SIGKILL)
    await processes.read(JOB, [b'{"content":""}'])
    assert processes.n_started == 2


async def test_a_process_that_always_dies_is_an_error_of_ours(
    processes: BodyProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.http.body_processes.reading_process.__name__", "server.no_such_module")
    with pytest.raises(CorralError, match="ended twice"):
        await processes.read(JOB, [b'{"content":""}'])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has classes of threads")
@pytest.mark.parametrize(("burst_s", "gives_way"), [(0.0, True), (1e6, False)])
async def test_what_takes_longer_than_the_allowance_gives_way(
    burst_s: float, gives_way: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the thread that reads this body: the next one begins as any other does."""
    classes: list[int] = []
    processes = BodyProcesses(Allowance(lambda: 0.0, burst_s))

    def note(reader: int) -> None:
        take_what_is_left(reader)
        assert reader in [thread.id for thread in psutil.Process(child(processes)).threads()]
        classes.append(os.sched_getscheduler(reader))

    monkeypatch.setattr("server.http.body_processes.take_what_is_left", note)
    for n in (1, 2):
        await processes.read(JOB, [b'{"content":"","unknown":[' + b"[1]," * 60_000 + b"1]}"])
        assert classes == [os.SCHED_IDLE] * (n if gives_way else 0)
        assert os.sched_getscheduler(child(processes)) == os.SCHED_OTHER
    processes.close()


async def test_a_body_that_takes_too_long_is_refused(
    processes: BodyProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    await processes.read(JOB, [b'{"content":""}'])
    os.kill(child(processes), signal.SIGPROF)  # as its own timer does
    with pytest.raises(RequestError, match="takes more than 30 s of computing"):
        await processes.read(JOB, [b'{"content":""}'])
