"""The inbox with a scripted reader in place of the vocabulary: nothing a client sends may leave it deaf."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import cast

import pytest

from models.errors import RequestError
from server.engine.engine import Engine, EngineConfig
from server.engine.events import Failure
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.frames import HEADER, decode_reply, encode_frame, frame_length
from server.ipc.messages import (
    Cancel,
    Drain,
    Generate,
    Reply,
    Stats,
    StatsReply,
    StepEvents,
    TextPrompt,
    Tokenize,
    TokenizeReply,
    WorkerRequest,
)
from server.worker.channel import Channel
from server.worker.inbox import Inbox, Serving
from server.worker.prompts import PromptReader
from tests.server.engine.scripted_runner import ScriptedRunner


class ScriptedReader:
    """Reads text as its letters' numbers; some words are trouble."""

    def read(self, message: Generate) -> EngineRequest:
        assert isinstance(message.prompt, TextPrompt)
        tokens = self.tokenize(Tokenize(id=message.id, text=message.prompt.text)).tokens
        return EngineRequest(id=message.id, prompt_tokens=tokens, params=message.params)

    def tokenize(self, message: Tokenize) -> TokenizeReply:
        if message.text == "bad":
            raise RequestError("bad text", param="prompt")
        if message.text == "bug":
            raise KeyError("bug")
        return TokenizeReply(message.id, [ord(letter) % 10 for letter in message.text])


class Desk:
    """An inbox and the other end of its socket."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(10)
        self.channel = Channel(theirs)
        self.closed = threading.Event()
        self.inbox = Inbox(self.channel, self.closed.set)
        self.reader = self.socket.makefile("rb")

    def serve(self) -> None:
        engine = Engine(ScriptedRunner(), EngineConfig())
        self.inbox.serve(Serving(cast("PromptReader", ScriptedReader()), engine, n_kv_tokens=1024))

    def send(self, message: WorkerRequest) -> None:
        self.socket.sendall(encode_frame(message))

    def ask(self, message: WorkerRequest) -> Reply:
        self.send(message)
        return decode_reply(self.reader.read(frame_length(self.reader.read(HEADER.size))))

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    made.inbox.start()
    yield made
    made.close()
    assert made.closed.wait(10)
    made.channel.close()


def generate(text: str) -> Generate:
    return Generate(id="g", prompt=TextPrompt(text), params=SamplingParams())


def test_work_comes_out_in_the_order_it_came_in(desk: Desk) -> None:
    desk.serve()
    for message in (generate("ab"), Cancel("g"), Drain(1.0)):
        desk.send(message)
    request, cancel, drain = (desk.inbox.work.get(timeout=10) for _ in range(3))
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
    assert isinstance(events, StepEvents)
    assert [(event.id, cast("Failure", event).kind) for event in events.events] == [("g", kind)]
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
    assert desk.closed.wait(10)


def test_nonsense_on_the_socket_counts_as_its_end(desk: Desk) -> None:
    desk.socket.sendall(HEADER.pack(3) + b"\xff\xff\xff")
    assert desk.closed.wait(10)
