"""Parts arrive in order and whole, whether the server takes them at once or lets us wait."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from server.http.body_writer import BodyWriter


class Sink:
    """A server's `send`: waits while `room` is clear; `broken` is raised after that."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self.broken: Exception | None = None
        self.parts: list[bytes] = []
        self.ended = False

    async def send(self, message: Message) -> None:
        await self.room.wait()
        if self.broken is not None:
            raise self.broken
        self.parts.append(message["body"])
        self.ended = not message["more_body"]


async def test_a_part_is_sent_in_the_call_that_writes_it() -> None:
    sink = Sink()
    body = BodyWriter(sink.send)
    body.write(b"a")
    body.write(b"b")
    assert sink.parts == [b"a", b"b"]
    assert not body.waiting
    await body.end(b"c")
    assert sink.parts == [b"a", b"b", b"c"]
    assert sink.ended


async def test_what_is_written_while_it_waits_leaves_together_and_in_order() -> None:
    sink = Sink()
    body = BodyWriter(sink.send)
    sink.room.clear()
    for part in (b"a", b"b", b"c"):
        body.write(part)
    assert body.waiting
    drained = asyncio.create_task(body.drained())
    await asyncio.sleep(0.01)
    assert sink.parts == []
    assert not drained.done()
    sink.room.set()
    await asyncio.wait_for(drained, 5)
    assert sink.parts == [b"a", b"bc"]
    body.write(b"d")
    assert sink.parts[2:] == [b"d"]


async def test_the_end_waits_for_the_rest() -> None:
    sink = Sink()
    body = BodyWriter(sink.send)
    sink.room.clear()
    body.write(b"a")
    ending = asyncio.create_task(body.end(b"z"))
    await asyncio.sleep(0.01)
    body.write(b"b")
    sink.room.set()
    await asyncio.wait_for(ending, 5)
    assert b"".join(sink.parts) == b"abz"
    assert sink.ended


async def test_an_error_of_send_is_raised_at_once_or_by_the_next_call() -> None:
    sink = Sink()
    sink.broken = OSError("gone")
    body = BodyWriter(sink.send)
    with pytest.raises(OSError, match="gone"):
        body.write(b"a")
    sink.room.clear()
    body.write(b"a")
    sink.room.set()
    await asyncio.sleep(0.01)
    with pytest.raises(OSError, match="gone"):
        body.write(b"b")
    with pytest.raises(OSError, match="gone"):
        await body.end(b"c")


@pytest.mark.parametrize("failing", [False, True])
async def test_abandoned_it_waits_no_more_and_complains_of_nothing(failing: bool) -> None:
    sink = Sink()
    body = BodyWriter(sink.send)
    sink.room.clear()
    body.write(b"a")
    if failing:
        sink.broken = OSError("gone")
        sink.room.set()
        await asyncio.sleep(0.01)
    body.abandon()
    await asyncio.sleep(0.01)
    assert sink.parts == []
