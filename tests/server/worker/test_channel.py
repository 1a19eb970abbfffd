from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from server.engine.events import Delta
from server.ipc import frames
from server.ipc.frames import HEADER, FrameError, decode_reply, encode_frame, frame_length
from server.ipc.messages import Cancel, StepEvents, TokenizeReply
from server.ipc.model_spec import ModelSpec
from server.serve_options import ServeOptions
from server.worker.channel import Channel


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Channel]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    worker = Channel(theirs)
    yield ours, worker
    ours.close()
    worker.close()


def test_the_spec_comes_first_and_frames_may_come_in_pieces(pair: tuple[socket.socket, Channel]) -> None:
    ours, worker = pair
    spec = ModelSpec(name="demo", path="/x.gguf", options=ServeOptions(gpu_layers=3, ctx=77))
    data = encode_frame(spec) + encode_frame(Cancel("a")) + encode_frame(Cancel("b"))

    def send() -> None:
        for start in range(0, len(data), 3):
            ours.sendall(data[start : start + 3])

    sender = threading.Thread(target=send)
    sender.start()
    assert worker.receive_spec() == spec
    assert [worker.receive(), worker.receive()] == [Cancel("a"), Cancel("b")]
    sender.join()


def test_replies_of_several_threads_do_not_mix(pair: tuple[socket.socket, Channel]) -> None:
    ours, worker = pair

    def send(name: str) -> None:
        for _ in range(50):
            worker.send(StepEvents([Delta(id=name, index=0, text="x" * 5000)]))

    threads = [threading.Thread(target=send, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    reader = ours.makefile("rb")
    replies = [decode_reply(reader.read(frame_length(reader.read(HEADER.size)))) for _ in range(200)]
    for thread in threads:
        thread.join()
    reader.close()
    assert all(isinstance(reply, StepEvents) and len(reply.events) == 1 for reply in replies)


def test_a_closed_connection_is_none_and_a_cut_frame_an_error(pair: tuple[socket.socket, Channel]) -> None:
    ours, worker = pair
    ours.sendall(encode_frame(Cancel("a"))[:-1])
    ours.close()
    with pytest.raises(FrameError, match="closed after"):
        worker.receive()
    assert worker.receive() is None


def test_a_frame_that_is_too_long_is_refused_unread(pair: tuple[socket.socket, Channel]) -> None:
    ours, worker = pair
    ours.sendall(HEADER.pack(frames.MAX_FRAME_BYTES + 1))
    with pytest.raises(FrameError, match="the limit is"):
        worker.receive()


def test_nothing_of_a_reply_that_is_too_long_is_sent(
    pair: tuple[socket.socket, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, worker = pair
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 1000)
    with pytest.raises(FrameError, match="the limit is 1,000"):
        worker.send(TokenizeReply("a", list(range(1000))))
    short = TokenizeReply("a", [1])
    worker.send(short)
    frame = encode_frame(short)
    assert ours.recv(1000) == frame
