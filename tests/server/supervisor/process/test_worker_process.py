"""The tail of a worker's stderr; whole processes are started in `test_supervisor`."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest

from server.ipc.frames import HEADER, decode_request
from server.ipc.messages import GiveWay, WorkerRequest
from server.ipc.model_spec import ModelSpec
from server.ipc.pulse import Pulse
from server.supervisor.policy import Policy
from server.supervisor.process.connection import WorkerConnection
from server.supervisor.process.worker_process import (
    STDERR_LINE_BYTES,
    STDERR_LINES,
    StderrTail,
    WorkerProcess,
)


async def tail_of(*chunks: bytes) -> StderrTail:
    pipe = asyncio.StreamReader()
    tail = StderrTail("demo")
    reading = asyncio.create_task(tail.read(pipe))
    for chunk in chunks:
        pipe.feed_data(chunk)
        await asyncio.sleep(0)
    pipe.feed_eof()
    await reading
    return tail


async def test_lines_are_whole_however_they_come_and_the_last_needs_no_end() -> None:
    tail = await tail_of(b"ab", b"c\nde\n\n", b"f\xff")
    assert tail.lines == ("abc", "de", "f\ufffd")


async def test_the_last_lines_are_kept() -> None:
    tail = await tail_of(b"".join(b"%d\n" % number for number in range(STDERR_LINES + 5)))
    assert tail.lines == tuple(str(number) for number in range(5, STDERR_LINES + 5))


async def test_the_end_of_a_long_line_is_kept() -> None:
    tail = await tail_of(b"a" * STDERR_LINE_BYTES, b"the end")
    [line] = tail.lines
    assert len(line) == STDERR_LINE_BYTES
    assert line.endswith("the end")


async def test_every_line_is_logged_under_the_models_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "corral.worker"):
        await tail_of(b"hello\n")
    assert caplog.messages == ["demo: hello"]


class Wire:
    """A connection that keeps what is sent."""

    open = True

    def __init__(self) -> None:
        self.sent: list[WorkerRequest] = []

    def write(self, frame: bytes) -> None:
        self.sent.append(decode_request(frame[HEADER.size :]))


async def test_a_worker_is_told_to_give_way_when_that_changes() -> None:
    """A request for vectors costs no second message: at first a worker gives way to nobody."""
    process: Any = None  # nothing is asked of it
    worker = WorkerProcess(
        ModelSpec(name="demo", path="demo.gguf"), Policy(), process, Pulse(), lambda _: None
    )
    wire = Wire()
    worker._connection = cast("WorkerConnection", wire)
    for active in (False, False, True, True, False, False):
        worker.give_way(active)
    assert wire.sent == [GiveWay(True), GiveWay(False)]
