"""The inbox with a scripted reader in place of the vocabulary: nothing a client sends may leave it deaf."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import pytest

from models.errors import RequestError
from server.engine.batch import Adapters
from server.engine.engine import Engine, EngineConfig
from server.engine.events import Failure
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.frames import HEADER, encode_frame
from server.ipc.messages import (
    Cancel,
    Drain,
    Generate,
    LoadAdapter,
    Reply,
    Stats,
    StatsReply,
    StepEvents,
    Tokenize,
    TokenizeReply,
    UnloadAdapter,
    WorkerRequest,
)
from server.ipc.model_spec import AdapterSpec
from server.ipc.prompts import TextPrompt
from server.worker.channel import Channel
from server.worker.inbox import Inbox, Serving
from server.worker.lanes import INSTANT, SHORT
from server.worker.prompts import PromptReader
from tests.server.engine.scripted_runner import ScriptedRunner
from tests.server.worker.reply_reader import ReplyReader

WAIT = "wait" + " " * INSTANT
PATIENCE_S = 60.0
"""What is certain to come may take so long on a busy machine."""


class ScriptedReader:
    """Reads text as its letters' numbers; some words are trouble, "wait" takes until the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def read(self, message: Generate, images: None) -> EngineRequest:
        assert isinstance(message.prompt, TextPrompt)
        tokens = self.tokenize(Tokenize(id=message.id, text=message.prompt.text)).tokens
        return EngineRequest(id=message.id, prompt_tokens=tokens, params=message.params)

    def tokenize(self, message: Tokenize) -> TokenizeReply:
        if message.text == "bad":
            raise RequestError("bad text", param="prompt")
        if message.text == "bug":
            raise KeyError("bug")
        if message.text.startswith("wait"):
            assert self.gate.wait(PATIENCE_S)
        return TokenizeReply(message.id, [ord(letter) % 10 for letter in message.text])


class Desk:
    """An inbox and the other end of its socket."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(PATIENCE_S)
        self.channel = Channel(theirs)
        self.closed = threading.Event()
        self.inbox = Inbox(self.channel, self.closed.set)
        self.reader = self.socket.makefile("rb")
        self._replies = ReplyReader(self.reader)
        self.prompts = ScriptedReader()

    def serve(self) -> None:
        engine = Engine(ScriptedRunner(), EngineConfig())
        self.inbox.serve(Serving(cast("PromptReader", self.prompts), engine, n_kv_tokens=1024))

    def send(self, message: WorkerRequest) -> None:
        self.socket.sendall(encode_frame(message))

    def ask(self, message: WorkerRequest) -> Reply:
        self.send(message)
        return self.receive()

    def receive(self) -> Reply:
        reply = self._replies.read()
        assert reply is not None
        return reply

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    made.inbox.start()
    yield made
    made.prompts.gate.set()
    made.close()
    assert made.closed.wait(PATIENCE_S)
    made.channel.close()


def generate(text: str, name: str = "g", adapters: Adapters = ()) -> Generate:
    return Generate(id=name, prompt=TextPrompt(text), params=SamplingParams(), adapters=adapters)


def failures(reply: Reply) -> list[tuple[str, str]]:
    assert isinstance(reply, StepEvents)
    return [(event.id, cast("Failure", event).kind) for event in reply.events]


def test_work_comes_out_in_the_order_it_came_in(desk: Desk) -> None:
    desk.serve()
    desk.send(generate("ab"))
    request = desk.inbox.work.get(timeout=PATIENCE_S)
    for message in (Cancel("g"), Drain(1.0)):
        desk.send(message)
    cancel, drain = (desk.inbox.work.get(timeout=PATIENCE_S) for _ in range(2))
    assert isinstance(request, EngineRequest)
    assert list(request.prompt_tokens) == [7, 8]
    assert (cancel, drain) == (Cancel("g"), Drain(1.0))


@pytest.mark.parametrize(("text", "kind"), [("bad", "invalid_request"), ("bug", "server_error")])
def test_trouble_with_one_message_is_its_own(desk: Desk, text: str, kind: str) -> None:
    desk.serve()
    reply = desk.ask(Tokenize(id="t", text=text))
    assert isinstance(reply, Failure)
    assert (reply.id, reply.kind) == ("t", kind)
    events = desk.ask(generate(text))
    assert failures(events) == [("g", kind)]
    assert desk.ask(Tokenize(id="t", text="ab")) == TokenizeReply("t", [7, 8])


def test_before_the_model_is_loaded_everything_is_unavailable(desk: Desk) -> None:
    reply = desk.ask(Stats(id="s"))
    assert isinstance(reply, Failure)
    assert reply.kind == "unavailable"
    assert isinstance(desk.ask(generate("ab")), StepEvents)
    desk.serve()
    assert isinstance(desk.ask(Stats(id="s")), StatsReply)


def test_a_drain_before_the_model_is_loaded_ends_at_once(desk: Desk) -> None:
    desk.send(Drain(30.0))
    assert desk.closed.wait(PATIENCE_S)


def test_nonsense_on_the_socket_counts_as_its_end(desk: Desk) -> None:
    desk.socket.sendall(HEADER.pack(3) + b"\xff\xff\xff")
    assert desk.closed.wait(PATIENCE_S)


# --- what is still being prepared ---


def test_a_cancel_is_heard_while_its_request_is_prepared(desk: Desk) -> None:
    desk.serve()
    desk.send(generate(WAIT))
    assert failures(desk.ask(Cancel("g"))) == [("g", "cancelled")]
    desk.send(Cancel("g"))  # a second one is for the engine, which doesn't know the id
    assert desk.inbox.work.get(timeout=PATIENCE_S) == Cancel("g")
    desk.prompts.gate.set()
    desk.send(generate("ab", "next"))
    assert cast("EngineRequest", desk.inbox.work.get(timeout=PATIENCE_S)).id == "next"
    assert desk.inbox.is_empty


def test_a_request_that_was_cancelled_in_the_queue_is_not_prepared(desk: Desk) -> None:
    desk.serve()
    for name in ("a", "b", "late"):  # more than a lane has threads
        desk.send(generate(WAIT, name))
    for name in ("late", "a", "b"):
        assert failures(desk.ask(Cancel(name))) == [(name, "cancelled")]
    desk.prompts.read = None  # type: ignore[assignment, method-assign]
    desk.prompts.gate.set()
    desk.send(Tokenize(id="t", text="ab"))
    assert desk.receive() == TokenizeReply("t", [7, 8])


def test_short_messages_overtake_long_ones(desk: Desk) -> None:
    desk.serve()
    for name in ("a", "b", "c"):
        desk.send(generate(WAIT + " long" * SHORT, name))
        desk.send(Tokenize(id=name, text="wait" + " long" * SHORT))
    assert desk.ask(Tokenize(id="t", text="ab")) == TokenizeReply("t", [7, 8])
    assert cast("StatsReply", desk.ask(Stats(id="s"))).waiting == 3
    desk.send(generate("ab", "short"))
    assert cast("EngineRequest", desk.inbox.work.get(timeout=PATIENCE_S)).id == "short"
    desk.prompts.gate.set()
    ready = [cast("EngineRequest", desk.inbox.work.get(timeout=PATIENCE_S)) for _ in "abc"]
    assert {request.id for request in ready} == {"a", "b", "c"}
    assert {cast("TokenizeReply", desk.receive()).id for _ in "abc"} == {"a", "b", "c"}


def test_one_id_belongs_to_one_request(desk: Desk) -> None:
    desk.serve()
    desk.send(generate(WAIT))
    assert failures(desk.ask(generate("ab"))) == [("g", "invalid_request")]
    desk.prompts.gate.set()
    assert cast("EngineRequest", desk.inbox.work.get(timeout=PATIENCE_S)).id == "g"


def test_an_adapter_isnt_unloaded_before_the_requests_that_came_first(desk: Desk) -> None:
    desk.serve()
    load, unload = LoadAdapter("load", AdapterSpec(id=1, path="x")), UnloadAdapter("unload", 1)
    for message in (load, generate(WAIT, adapters=((1, 1.0),)), unload):
        desk.send(message)
    assert desk.inbox.work.get(timeout=PATIENCE_S) == load
    desk.ask(Stats(id="s"))
    assert desk.inbox.work.empty()
    desk.prompts.gate.set()
    assert cast("EngineRequest", desk.inbox.work.get(timeout=PATIENCE_S)).id == "g"
    assert desk.inbox.work.get(timeout=PATIENCE_S) == unload


def test_a_drain_lets_go_on_what_came_before_and_refuses_what_comes_after(desk: Desk) -> None:
    desk.serve()
    desk.send(generate(WAIT, "before"))
    desk.send(Drain(1.0))
    assert failures(desk.ask(generate("ab", "after"))) == [("after", "unavailable")]
    assert desk.inbox.work.get(timeout=PATIENCE_S) == Drain(1.0)
    assert not desk.inbox.is_empty
    desk.prompts.gate.set()
    assert cast("EngineRequest", desk.inbox.work.get(timeout=PATIENCE_S)).id == "before"
    assert desk.inbox.is_empty


def test_what_hasnt_reached_the_engine_can_be_ended(desk: Desk) -> None:
    desk.serve()
    desk.send(generate(WAIT, "preparing"))
    desk.send(generate("ab", "ready"))
    while desk.inbox.work.empty():
        desk.ask(Stats(id="s"))
    desk.inbox.shut()
    assert sorted(desk.inbox.take_unserved()) == ["preparing", "ready"]
    desk.prompts.gate.set()
    assert desk.inbox.is_empty


class PlayedEngine:
    """Takes the work as the engine's thread does, hears the socket as the supervisor does, counts ends."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.ends: list[str] = []
        self._desk = desk
        self._chance = random.Random(-seed)
        self._threads = [threading.Thread(target=play) for play in (self._compute, self._hear)]
        for thread in self._threads:
            thread.start()

    def _compute(self) -> None:
        running: list[str] = []
        while (message := self._desk.inbox.work.get(timeout=PATIENCE_S)) != Cancel("stop"):
            if isinstance(message, EngineRequest):
                running.append(message.id)
            elif isinstance(message, Cancel) and message.id in running:
                running.remove(message.id)
                self.ends.append(message.id)
            if self._chance.random() < 0.1:
                time.sleep(0.001)
        self.ends += running

    def _hear(self) -> None:
        while (heard := failures(self._desk.receive())[0][0]) != "bye":
            self.ends.append(heard)

    def stop(self, names: Iterable[str]) -> None:
        """Let the work end, then the socket once all `names` have ended: the last are answered meanwhile."""
        self._until(lambda: "last" in self.ends and self._desk.inbox.is_empty)
        self._desk.inbox.work.put(Cancel("stop"))
        self._threads[0].join(PATIENCE_S)
        self._until(lambda: set(names) <= set(self.ends))
        self._desk.send(generate("bad", "bye"))
        self._threads[1].join(PATIENCE_S)

    @staticmethod
    def _until(condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition() and time.monotonic() < deadline_s:
            time.sleep(0.01)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_schedule_each_request_ends_once(desk: Desk, seed: int) -> None:
    desk.serve()
    desk.prompts.gate.set()
    chance, engine = random.Random(seed), PlayedEngine(desk, seed)
    names = [f"r{n}" for n in range(300)]
    for n, name in enumerate(names):
        text = chance.choice(["bad", "bug", *["ab" * chance.choice([2, 2, 2000, 20_000])] * 4])
        desk.send(generate(text, name))
        if chance.random() < 0.6:
            desk.send(Cancel(chance.choice(names[max(0, n - 5) : n + 1])))
        if chance.random() < 0.05:
            time.sleep(0.002)
    desk.send(generate("bad", "last"))
    engine.stop(names)
    assert sorted(engine.ends) == sorted([*names, "last"])
