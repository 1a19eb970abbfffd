from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from server.engine.sampling_params import SamplingParams
from server.ipc import frames
from server.ipc.frames import (
    HEADER,
    Channel,
    FrameError,
    decode_reply,
    decode_request,
    encode_frame,
    frame_length,
)
from server.ipc.messages import (
    Cancel,
    ChatPrompt,
    Delta,
    Drain,
    Generate,
    ModelSpec,
    Request,
    StepEvents,
    TextPrompt,
    TokenizeReply,
    TokenPrompt,
)

PARAMS = SamplingParams(temperature=0.5, logit_bias=((3, float("-inf")),), stop=("a", "###"), seed=2**63)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Channel]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    worker = Channel(theirs)
    yield ours, worker
    ours.close()
    worker.close()


@pytest.mark.parametrize(
    "message",
    [
        Generate(id="a", prompt=TextPrompt("né"), params=PARAMS, n=3, timeout_s=1.5),
        Generate(id="a", prompt=TokenPrompt((1, 2)), params=SamplingParams(), echo=True),
        Generate(
            id="a", prompt=ChatPrompt([{"role": "user", "content": "x"}], "vicuna"), params=SamplingParams()
        ),
        Cancel("a"),
        Drain(2.5),
    ],
)
def test_a_request_arrives_as_it_was_sent(pair: tuple[socket.socket, Channel], message: Request) -> None:
    ours, worker = pair
    ours.sendall(encode_frame(message))
    assert worker.receive() == message


def test_the_spec_comes_first_and_frames_may_come_in_pieces(pair: tuple[socket.socket, Channel]) -> None:
    ours, worker = pair
    spec = ModelSpec(name="demo", path="/x.gguf", n_gpu_layers=3, n_ctx=77)
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


def test_a_frame_that_is_too_long_is_refused_at_both_ends(
    pair: tuple[socket.socket, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, worker = pair
    ours.sendall(HEADER.pack(frames.MAX_FRAME_BYTES + 1))
    with pytest.raises(FrameError, match="the limit is"):
        worker.receive()
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 1000)
    with pytest.raises(FrameError, match="the limit is 1,000"):
        encode_frame(TokenizeReply("a", list(range(1000))))


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"\x93\x01", b"\x81\xa4type\xa3foo", b"\x80"])
def test_what_is_no_message_is_a_frame_error(payload: bytes) -> None:
    for decode in (decode_request, decode_reply, frames.decode_spec):
        with pytest.raises(FrameError, match="doesn't decode"):
            decode(payload)
