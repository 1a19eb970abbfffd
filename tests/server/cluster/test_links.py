"""The socket between a replica and an API process: both real ends, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from models.errors import RequestError, WorkerBusy, WorkerError
from server.cluster.deployments import TOKEN_BYTES, LinkAddress, ReplicaLost
from server.cluster.link.link_messages import Answer, Ask, Beat, Begin, Declined, Hello, Refused, link_frame
from server.cluster.link.refusals import refusal_of
from server.cluster.peers.link_listener import LinkListener
from server.cluster.peers.peer import Peer
from server.cluster.peers.run_table import Destination, Run, RunTable
from server.cluster.replica import replica_link
from server.cluster.replica.replica_link import ReplicaLink, ReplicaLinks
from server.engine.events import Delta, Failure, Started
from server.ipc import frames
from server.ipc.frames import HEADER, MAX_FRAME_BYTES, FrameError
from server.ipc.messages import Slots, SlotsReply, Stats, StatsReply, StepEvents
from server.supervisor.process.request_stream import RequestStream
from server.supervisor.protocol import ModelStatus
from tests.server.openai.collect import Collector
from tests.server.supervisor.conftest import request
from tests.server.supervisor.scripted_worker import stats_reply
from tests.server.supervisor.test_supervisor import until

FAILURE = Failure(id="x", kind="cancelled", message="m")
TO = Destination("d", "", "key")


class Replica:
    """A `LinkUser` that begins requests and says nothing of them by itself."""

    def __init__(self, name: str = "a") -> None:
        self.name = name
        self.links = ReplicaLinks(self)
        self.begun: dict[str, ReplicaLink] = {}
        self.cancelled: list[str] = []
        self.answer: Any = stats_reply("", 7)
        self.says = Beat()

    def hello(self) -> Hello:
        statuses = [ModelStatus(name="one", state="ready", created=1)]
        return Hello(replica=self.name, deployment="d", statuses=statuses, max_ongoing=2)

    def beat(self) -> Beat:
        return self.says

    def take(self, link: ReplicaLink, message: Begin | Ask) -> None:
        if isinstance(message, Ask):
            link.send(Answer(message.id, self.answer))
            return
        run_id = message.work.id
        self.begun[run_id] = link
        task = asyncio.create_task(asyncio.sleep(3600))
        task.add_done_callback(lambda _: self.cancelled.append(run_id))
        link.begin(run_id, task)


class Ends:
    """A listener, and the links to it of one replica, and of more if a test wants."""

    def __init__(self) -> None:
        self.table = RunTable(silent_ticks=1)
        self.listener = LinkListener(self.table)
        self.replicas = [Replica()]

    @property
    def replica(self) -> Replica:
        return self.replicas[0]

    def open(self, request_id: str = "r", **options: Any) -> tuple[Run, Collector]:
        collector = Collector()
        run = self.table.open(request("x", request_id), TO, RequestStream(collector), **options)
        return run, collector

    async def begun(self, request_id: str = "r") -> tuple[Run, Collector, ReplicaLink]:
        run, collector = self.open(request_id)
        await until(lambda: run.id in self.replica.begun)
        return run, collector, self.replica.begun[run.id]

    async def connect(self, replica: Replica) -> None:
        n_before = len(list(self.table.roster))
        replica.links.keep([self.listener.address])
        await until(lambda: len(list(self.table.roster)) == n_before + 1)


@pytest_asyncio.fixture
async def ends(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ends]:
    monkeypatch.setattr(replica_link, "RETRY_S", 0.02)
    ends = Ends()
    await ends.listener.start("127.0.0.1")
    await ends.connect(ends.replica)
    yield ends
    for replica in ends.replicas:
        replica.links.close()
    await ends.listener.stop()


def delta(run: Run, text: str) -> Delta:
    return Delta(id=run.id, index=0, text=text)


async def test_the_events_of_a_turn_are_one_frame(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    run, collector, link = await ends.begun("r1")
    other, others, again = await ends.begun("r2")
    assert again is link, "an API process has one connection"
    frames: list[StepEvents] = []
    take = ends.table.take

    def spy(peer: Peer, message: Any) -> None:
        if isinstance(message, StepEvents):
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
    assert ends.table.n_running == 1


async def test_what_is_too_long_for_a_frame_goes_in_several(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, collector, link = await ends.begun()

    def link_frame_of_few(message: Any) -> bytes:
        if isinstance(message, StepEvents) and len(message.events) > 2:
            raise FrameError("too long")
        return link_frame(message)

    monkeypatch.setattr(replica_link, "link_frame", link_frame_of_few)
    for text in "abcde":
        link.on_event(delta(run, text))
    await until(lambda: len(collector.events) == 5)
    assert "".join(event.text for event in collector.events if isinstance(event, Delta)) == "abcde"


async def test_strangers_and_nonsense_are_dropped(ends: Ends) -> None:
    to = ends.listener.address
    run, collector, link = await ends.begun()
    too_long = HEADER.pack(MAX_FRAME_BYTES + 1)
    for said, proof in (
        (b"x" * TOKEN_BYTES, b""),
        (to.token[:15] + b"x", b""),
        (to.proof, b""),
        (b"x" * 99, b""),
        (to.token + b"\x04\0\0\0nope", to.proof),
        (to.token + too_long, to.proof),
        (to.token + link_frame(Beat()), to.proof),
    ):
        reader, writer = await asyncio.open_connection(to.host, to.port)
        writer.write(said)
        told = b""
        with contextlib.suppress(ConnectionResetError):
            while data := await asyncio.wait_for(reader.read(), 5.0):
                told += data
        assert proof.startswith(told)
        writer.close()
    assert len(list(ends.table.roster)) == 1
    link.on_event(msgspec.structs.replace(FAILURE, id=run.id))
    await run.stream.ended
    assert len(collector.events) == 1


async def test_a_token_may_come_in_pieces(ends: Ends) -> None:
    to = ends.listener.address
    reader, writer = await asyncio.open_connection(to.host, to.port)
    hello = msgspec.structs.replace(ends.replica.hello(), replica="b")
    for byte in to.token + link_frame(hello):
        writer.write(bytes([byte]))
        await asyncio.sleep(0.0005)
    assert await reader.readexactly(TOKEN_BYTES) == to.proof
    await until(lambda: len(list(ends.table.roster)) == 2)
    writer.close()


async def test_a_replica_talks_to_nobody_who_has_not_the_proof() -> None:
    said: list[bytes] = []

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.readexactly(TOKEN_BYTES))
        writer.write(b"x" * TOKEN_BYTES)
        with contextlib.suppress(ConnectionResetError):
            said.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0)
    address = LinkAddress("127.0.0.1", server.sockets[0].getsockname()[1], bytes(range(2 * TOKEN_BYTES)))
    replica = Replica()
    replica.links.keep([address])
    await until(lambda: said != [])
    await replica.links.met(0.1)
    assert b"".join(said) == address.token
    assert not replica.links._links
    replica.links.close()
    server.close()


async def test_a_silent_replica_is_lost_and_a_talking_one_is_not(ends: Ends) -> None:
    run, collector, link = await ends.begun()
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
    await until(lambda: ends.replica.cancelled == [run.id])
    assert not link.open
    await until(lambda: len(list(ends.table.roster)) == 1)
    again, _, new = await ends.begun()
    assert new is not link
    ends.table.close(again)


async def test_a_beat_is_a_sign_of_life_and_tells_how_it_does(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_link, "BEAT_S", 0.01)
    (peer,) = ends.table.roster
    ends.replica.says = Beat(1, is_ready=False)
    ends.replica.links.send_beat()
    peer.n_silent = 1
    await until(lambda: peer.n_silent == 0 and peer.load.n == 1)
    ends.replica.says = Beat(is_draining=True)
    await until(lambda: peer.beat.is_draining)
    run, _ = ends.open()
    assert run.peer is None, "one that ends takes nothing"
    ends.replica.says = Beat()
    await until(lambda: run.peer is peer)
    ends.table.close(run)


async def test_a_request_on_its_way_to_the_next_replica_is_not_the_end_of_all(ends: Ends) -> None:
    run, _, link = await ends.begun()

    async def go_on() -> Run:
        with pytest.raises(ReplicaLost):
            await run.stream.ended
        ends.table.close(run)
        return ends.open()[0]

    going_on, idle = asyncio.create_task(go_on()), asyncio.create_task(ends.table.idle(5.0))
    await asyncio.sleep(0)
    link.close()
    again = await going_on
    await asyncio.wait([idle], timeout=0.05)
    assert not idle.done()
    ends.table.close(again)
    await idle


async def test_a_link_that_closes_cuts_its_runs_and_cancels_them(ends: Ends) -> None:
    run, _, link = await ends.begun()
    link.close()
    with pytest.raises(ReplicaLost, match="closed its connection"):
        await run.stream.ended
    await until(lambda: ends.replica.cancelled == [run.id])
    assert ends.table.n_running == 0


async def test_what_nobody_wants_is_cancelled(ends: Ends) -> None:
    run, _, _ = await ends.begun()
    ends.table.close(run, cancel=True)
    await until(lambda: ends.replica.cancelled == [run.id])
    ends.table.close(run, cancel=True)
    assert ends.table.n_running == 0


async def test_late_words_of_a_request_that_was_given_up_reach_nobody(ends: Ends) -> None:
    run, collector, link = await ends.begun()
    link.on_event(Started(id=run.id, prompt_tokens=1, cached_tokens=0))
    await until(lambda: len(collector.events) == 1)
    ends.table.close(run)
    other, others, _ = await ends.begun()
    link.on_event(delta(run, "late"))
    link.send(Declined(run.id))
    link.send(Refused(run.id, refusal_of(WorkerError("late"))))
    link.on_event(msgspec.structs.replace(FAILURE, id=other.id))
    await other.stream.ended
    assert len(collector.events) == 1
    assert len(others.events) == 1


async def test_a_request_waits_for_a_place_and_its_turn(ends: Ends) -> None:
    runs = [ends.open(f"r{number}")[0] for number in range(4)]
    assert [run.peer is None for run in runs] == [False, False, True, True]
    assert ends.table.n_waiting("d") == 2
    ends.table.tick()
    await until(lambda: ends.replica.links.n_waiting == 2.0)
    ends.table.close(runs[0], cancel=True)
    assert [run.peer is None for run in runs[1:]] == [False, False, True]
    ends.replicas.append(Replica("b"))
    await ends.connect(ends.replicas[1])
    assert ends.table.n_waiting("d") == 0
    for peer in ends.table.roster:
        peer.n_silent = 0
    ends.table.tick()
    await until(lambda: ends.replica.links.n_waiting == 0.0)
    for run in runs[1:]:
        ends.table.close(run)
    await ends.table.idle(1.0)


async def test_what_a_full_replica_declines_waits(ends: Ends) -> None:
    run, _, link = await ends.begun()
    link.send(Declined(run.id))
    await until(lambda: run.peer is None)
    ends.replica.begun.clear()
    ends.replica.links.send_beat()
    await until(lambda: run.id in ends.replica.begun)
    link.send(Refused(run.id, refusal_of(WorkerBusy("full", 3.0))))
    with pytest.raises(WorkerBusy, match="full"):
        await run.stream.ended
    patient, _ = ends.open(is_patient=True)
    link.send(Refused(patient.id, refusal_of(WorkerBusy("full", 3.0))))
    await until(lambda: patient.peer is None)
    ends.table.close(patient)


async def test_a_replica_that_connects_again_is_the_same_one(ends: Ends) -> None:
    run, _, _ = await ends.begun()
    (before,) = ends.table.roster
    twin = Replica("a")
    ends.replicas.append(twin)
    twin.links.keep([ends.listener.address])
    with pytest.raises(ReplicaLost, match="connected again"):
        await run.stream.ended
    assert before not in ends.table.roster
    ends.replica.links.close()


async def test_a_replica_avoided_gets_it_if_there_is_no_other(ends: Ends) -> None:
    avoiding = replace(TO, avoid=frozenset({"a"}))
    run = ends.table.open(request("x"), avoiding, RequestStream(Collector()))
    assert run.peer is not None
    ends.table.close(run)
    ends.replicas.append(Replica("b"))
    await ends.connect(ends.replicas[1])
    run = ends.table.open(request("x"), avoiding, RequestStream(Collector()))
    assert run.peer is not None
    assert run.peer.hello.replica == "b"
    ends.table.close(run)


async def test_a_request_that_is_too_large(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 10)
    with pytest.raises(RequestError, match="too large"):
        ends.open()
    assert ends.table.n_running == 0


async def test_questions(ends: Ends) -> None:
    (peer,) = ends.table.roster
    assert (await peer.ask(Stats(), StatsReply)).running == 7
    assert peer.latest_stats is not None
    with pytest.raises(FrameError, match="Slots with StatsReply"):
        await peer.ask(Slots(), SlotsReply)
    ends.replica.answer = refusal_of(WorkerError("not loaded"))
    with pytest.raises(WorkerError, match="not loaded"):
        await peer.ask(Slots(), SlotsReply)
    asking = asyncio.ensure_future(peer.ask(Stats(), StatsReply))
    await asyncio.sleep(0)
    ends.replica.links.close()
    with pytest.raises((ReplicaLost, WorkerError)):
        await asking


async def test_an_api_process_out_of_reach_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    replica = Replica()
    replica.links.keep([LinkAddress("127.0.0.1", 1, bytes(2 * TOKEN_BYTES))])
    await replica.links.met(0.1)
    assert caplog.text.count("an address that all machines reach") == 1
    replica.links.close()
