from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from models.errors import CorralError, RequestError
from server.http.body_processes import BodyProcesses
from server.openai.requests.reading import QuestionRead, ReadJob

JOB = ReadJob(purpose="tokenize")


@pytest.fixture
def processes() -> Iterator[BodyProcesses]:
    made = BodyProcesses()
    yield made
    made.close()


def child(processes: BodyProcesses) -> int:
    found = [process._child for process in processes._processes if process._child is not None]
    assert len(found) == 1
    return found[0].pid


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


async def test_bodies_are_read_side_by_side(processes: BodyProcesses) -> None:
    body = b'{"content":"' + b"a" * 1_000_000 + b'"}'
    await asyncio.gather(*[processes.read(JOB, [body]) for _ in range(8)])
    assert processes.n_started == 2


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


async def test_a_body_that_takes_too_long_is_refused(
    processes: BodyProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    await processes.read(JOB, [b'{"content":""}'])
    os.kill(child(processes), signal.SIGALRM)  # as its own timer does
    with pytest.raises(RequestError, match="takes more than 30 s to read"):
        await processes.read(JOB, [b'{"content":""}'])
