"""A worker process and the parent's end of its socket, for tests: blocking, one thread."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Started
from server.ipc.frames import encode_frame
from server.ipc.launch import worker_command, worker_environment
from server.ipc.messages import LoadFailed, Loading, Ready, Reply, StepEvents, WorkerRequest
from server.ipc.model_spec import ModelInfo, ModelSpec
from server.ipc.pulse import Pulse
from server.serve_options import SERVE_SETTINGS, ServeOptions
from tests.server.worker.reply_reader import ReplyReader

R = TypeVar("R")
TIMEOUT_S = 150.0
"""A reply may take as long as a test: on a busy machine the start of a process alone takes a minute."""


class WorkerClient:
    """Starts a worker on entering, and makes sure that none is left on leaving."""

    def __init__(self, path: Path, **spec: Any) -> None:
        """`spec`: fields of ServeOptions and of ModelSpec."""
        exact: dict[str, Any] = {"type_k": "f32", "type_v": "f32", "flash_attn": "off"}
        options = {"parallel": 3, "ctx": 256, "threads": 1, **exact}
        options |= {name: spec.pop(name) for name in SERVE_SETTINGS if name in spec}
        self.spec = ModelSpec(name="pico", path=str(path), options=ServeOptions(**options), **spec)
        self.progress: list[float] = []
        self.events: list[Event] = []

    def __enter__(self) -> Self:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(TIMEOUT_S)
        self.pulse = Pulse.make()
        with theirs:
            self.process = subprocess.Popen(
                [*worker_command(theirs.fileno()), "--pulse", str(self.pulse.fd)],
                env=worker_environment(self.spec, os.environ),
                pass_fds=[theirs.fileno(), self.pulse.fd],
                stderr=subprocess.PIPE,
            )
        self.reader = self.socket.makefile("rb")
        self._replies = ReplyReader(self.reader)
        self.socket.sendall(encode_frame(self.spec))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.pulse.close()

    def hang_up(self) -> None:
        self.reader.close()
        self.socket.close()

    def send(self, message: WorkerRequest) -> None:
        self.socket.sendall(encode_frame(message))

    def receive(self) -> Reply | None:
        """The next reply; None when the worker has closed its end."""
        return self._replies.read()

    def ready(self) -> ModelInfo:
        while not isinstance(reply := self.receive(), Ready):
            if isinstance(reply, StepEvents):
                self.events += reply.events
            else:
                assert isinstance(reply, Loading), reply
                self.progress.append(reply.progress)
        return reply.info

    def refused(self) -> LoadFailed:
        reply = self.receive()
        while isinstance(reply, Loading):
            reply = self.receive()
        assert isinstance(reply, LoadFailed), reply
        return reply

    def call(self, message: WorkerRequest, reply_type: type[R]) -> R:
        self.send(message)
        while isinstance(reply := self.receive(), StepEvents):
            self.events += reply.events
        assert isinstance(reply, reply_type), reply
        return reply

    def until_first_text(self, request_id: str) -> None:
        while not any(isinstance(event, Delta) and event.id == request_id for event in self.events):
            self.receive_events()

    def receive_events(self) -> list[Event]:
        reply = self.receive()
        assert isinstance(reply, StepEvents), reply
        self.events += reply.events
        return reply.events

    def finish(self, request_id: str) -> Answer:
        """Wait for a request's terminal event."""
        while not any(
            isinstance(event, Finish | Failure) and event.id == request_id for event in self.events
        ):
            self.receive_events()
        return Answer([event for event in self.events if event.id == request_id])


class Answer:
    """The events of one request, by what is asked of them."""

    def __init__(self, events: list[Event]) -> None:
        terminals = [event for event in events if isinstance(event, Finish | Failure)]
        assert len(terminals) == 1
        assert events[-1] is terminals[0]
        self.terminal = terminals[0]
        self.started = next((event for event in events if isinstance(event, Started)), None)
        self.ends = {event.index: event for event in events if isinstance(event, ChoiceEnd)}
        self.text: dict[int, str] = {}
        self.tokens: dict[int, tuple[int, ...]] = {}
        for event in events:
            if isinstance(event, Delta):
                self.text[event.index] = self.text.get(event.index, "") + event.text
                self.tokens[event.index] = self.tokens.get(event.index, ()) + event.tokens

    @property
    def finish(self) -> Finish:
        assert isinstance(self.terminal, Finish), self.terminal
        return self.terminal

    @property
    def failure(self) -> Failure:
        assert isinstance(self.terminal, Failure), self.terminal
        return self.terminal
