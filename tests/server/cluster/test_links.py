"""The socket between a replica and an API process: both real ends, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from models.errors import WorkerDied
from server.cluster import reply_link
from server.cluster.handles import ReplicaLost, ReplyTo
from server.cluster.link_listener import LinkListener
from server.cluster.link_messages import link_frame
from server.cluster.reply_link import ReplyLink, ReplyLinks
from server.cluster.run_table import Peer, Run, RunTable
from server.engine.events import Delta, Failure, Started
from server.ipc.frames import HEADER, MAX_FRAME_BYTES, FrameError
from server.ipc.messages import Slots, SlotsReply, Stats, StepEvents
from server.supervisor.process.request_stream import RequestStream
from tests.server.openai.collect import Collector
from tests.server.supervisor.scripted_worker import stats_reply
from tests.server.supervisor.test_supervisor import until

FAILURE = Failure(id="x", kind="cancelled", message="m")


class Ends:
    """A listener, and the links to it of one replica that answers with 7 running requests."""

    def __init__(self) -> None:
        self.table = RunTable(silent_ticks=1)
        self.listener = LinkListener(self.table)
        self.links = ReplyLinks(self._answer)
        self.cancelled: list[str] = []

    def _answer(self, link: ReplyLink, question: Stats | Slots) -> None:
        if isinstance(question, Stats):
            link.send(stats_reply(question.id, 7))
        else:
            link.send(Failure(id=question.id, kind="unavailable", message="not loaded"))

    def open(self, request_id: str = "r") -> tuple[Run, Collector]:
        collector = Collector()
        return self.table.open(request_id, "d", RequestStream(collector)), collector

    async def link(self) -> ReplyLink:
        return await self.links.to(self.listener.reply_to)

    async def taken(self, request_id: str = "r") -> tuple[Run, Collector, ReplyLink]:
        run, collector = self.open(request_id)
        link = await self.link()
        link.begin(run.id, lambda: self.cancelled.append(run.id))
        await until(lambda: run.peer is not None)
        return run, collector, link


@pytest_asyncio.fixture
async def ends() -> AsyncIterator[Ends]:
    ends = Ends()
    await ends.listener.start("127.0.0.1")
    yield ends
    ends.links.close()
    await ends.listener.stop()


def delta(run: Run, text: str) -> Delta:
    return Delta(id=run.id, index=0, text=text)


async def test_the_events_of_a_turn_are_one_frame(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    run, collector, link = await ends.taken("r1")
    other, others, again = await ends.taken("r2")
    assert again is link, "an API process has one connection"
    frames: list[StepEvents] = []
    take = ends.table.take

    def spy(peer: Peer, message: Any) -> None:
        frames.append(message)
        take(peer, message)

    monkeypatch.setattr(ends.table, "take", spy)
    for text in "abc":
        link.on_event(delta(run, text))
        link.on_event(delta(other, text))
    link.on_event(msgspec.structs.replace(FAILURE, id=run.id))
    await run.stream.ended
    assert [len(frame.events) for frame in frames] == [7]
    assert [event.id for event in collector.events] == ["r1"] * 4
    assert [event.text for event in others.events if isinstance(event, Delta)] == ["a", "b", "c"]
    assert (run.is_over, other.is_over, ends.table.n_running) == (True, False, 1)


async def test_what_is_too_long_for_a_frame_goes_in_several(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, collector, link = await ends.taken()

    def link_frame_of_few(message: Any) -> bytes:
        if isinstance(message, StepEvents) and len(message.events) > 2:
            raise FrameError("too long")
        return link_frame(message)

    monkeypatch.setattr(reply_link, "link_frame", link_frame_of_few)
    for text in "abcde":
        link.on_event(delta(run, text))
    await until(lambda: len(collector.events) == 5)
    assert "".join(event.text for event in collector.events if isinstance(event, Delta)) == "abcde"


async def test_strangers_and_nonsense_are_dropped(ends: Ends) -> None:
    to = ends.listener.reply_to
    run, collector, link = await ends.taken()
    too_long = HEADER.pack(MAX_FRAME_BYTES + 1)
    for said in (
        b"x" * 16,
        to.token[:15] + b"x",
        to.token + b"\x04\0\0\0nope",
        to.token + too_long,
        b"x" * 99,
    ):
        reader, writer = await asyncio.open_connection(to.host, to.port)
        writer.write(said)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5.0) == b""
        writer.close()
    link.on_event(msgspec.structs.replace(FAILURE, id=run.id))
    await run.stream.ended
    assert len(collector.events) == 1


async def test_a_token_may_come_in_pieces(ends: Ends) -> None:
    to = ends.listener.reply_to
    _, writer = await asyncio.open_connection(to.host, to.port)
    for byte in to.token:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.001)
    await until(lambda: len(ends.table.peers) == 1)
    writer.close()


async def test_a_silent_replica_is_lost_and_a_talking_one_is_not(ends: Ends) -> None:
    run, collector, link = await ends.taken()
    for _ in range(3):
        ends.table.tick()
        link.on_event(delta(run, "a"))
        n = len(collector.events)
        await until(lambda n=n: len(collector.events) > n)  # type: ignore[misc]
    ends.table.tick()
    ends.table.tick()
    await run.stream.ended
    (end,) = (event for event in collector.events if isinstance(event, Failure))
    assert "silent" in end.message
    await until(lambda: ends.cancelled == [run.id])
    assert not link.open
    assert (await ends.link()) is not link


async def test_a_beat_is_a_sign_of_life(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_link, "BEAT_S", 0.01)
    run, _, _ = await ends.taken()
    assert run.peer is not None
    run.peer.n_silent = 1
    await until(lambda: run.peer is not None and run.peer.n_silent == 0)


async def test_a_link_that_closes_cuts_its_runs_and_cancels_them(ends: Ends) -> None:
    run, _, link = await ends.taken()
    link.close()
    with pytest.raises(ReplicaLost, match="closed its connection"):
        await run.stream.ended
    assert ends.cancelled == [run.id]
    assert ends.table.n_running == 0


async def test_what_nobody_wants_is_cancelled(ends: Ends) -> None:
    run, _, link = await ends.taken()
    ends.table.close(run, cancel=True)
    await until(lambda: ends.cancelled == [run.id])
    late, _ = ends.open()
    ends.table.close(late, cancel=True)
    link.begin(late.id, lambda: ends.cancelled.append(late.id))
    await until(lambda: ends.cancelled == [run.id, late.id])
    link.end(late.id)


async def test_late_words_of_a_replica_that_was_given_up_reach_nobody(ends: Ends) -> None:
    run, collector, link = await ends.taken()
    link.on_event(Started(id=run.id, prompt_tokens=1, cached_tokens=0))
    await until(lambda: len(collector.events) == 1)
    ends.table.close(run)
    other, others, _ = await ends.taken()
    link.on_event(delta(run, "late"))
    link.on_event(msgspec.structs.replace(FAILURE, id=other.id))
    await other.stream.ended
    assert len(collector.events) == 1
    assert len(others.events) == 1


async def test_questions(ends: Ends) -> None:
    run, _, link = await ends.taken()
    peer = run.peer
    assert peer is not None
    assert (await peer.ask(Stats, type(stats_reply("", 0)))).running == 7
    assert peer.latest_stats is not None
    with pytest.raises(Exception, match="not loaded"):
        await peer.ask(Slots, SlotsReply)
    asking = asyncio.ensure_future(peer.ask(Stats, type(stats_reply("", 0))))
    await asyncio.sleep(0)
    link.abort()
    with pytest.raises(ReplicaLost):
        await asking
    with pytest.raises(ReplicaLost):
        await run.stream.ended


async def test_an_api_process_out_of_reach(ends: Ends) -> None:
    nowhere = ReplyTo("127.0.0.1", 1, b"x" * 16)
    for _ in range(2):
        with pytest.raises(WorkerDied, match="an address that all machines reach"):
            await ends.links.to(nowhere)
