"""However the bytes come, the same messages are handed on, in order, each once."""

from __future__ import annotations

import asyncio
import socket
from typing import Self

import pytest

from server.engine.events import Delta
from server.ipc import frames
from server.ipc.frames import HEADER, FrameError, decode_reply, encode_frame
from server.ipc.messages import DetokenizeReply, Reply, StepEvents, TokenizeReply
from server.supervisor.process.connection import FrameReader, WorkerConnection

MESSAGES: list[Reply] = [
    StepEvents([Delta(id="a", index=0, text="né")]),
    TokenizeReply("t", list(range(5000))),
    StepEvents([]),
    DetokenizeReply("d", "x"),
]
BYTES = b"".join(encode_frame(message) for message in MESSAGES)


@pytest.mark.parametrize("n_bytes", [1, 2, 3, 4, 5, 7, 100, 4096, len(BYTES) - 1, len(BYTES)])
def test_pieces_of_any_size(n_bytes: int) -> None:
    taken: list[Reply] = []
    reader = FrameReader(taken.append, decode_reply)
    for start in range(0, len(BYTES), n_bytes):
        reader.feed(BYTES[start : start + n_bytes])
    assert taken == MESSAGES


def test_each_is_handed_on_as_soon_as_it_is_whole() -> None:
    taken: list[Reply] = []
    reader = FrameReader(taken.append, decode_reply)
    frame = encode_frame(MESSAGES[0])
    reader.feed(frame + frame[:-1])
    assert len(taken) == 1
    reader.feed(frame[-1:])
    assert len(taken) == 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (HEADER.pack(frames.MAX_FRAME_BYTES + 1), "the limit is"),
        (HEADER.pack(3) + b"\xff\xff\xff", "doesn't decode"),
        (HEADER.pack(0), "doesn't decode"),
    ],
)
def test_what_came_before_a_bad_frame_is_handed_on(bad: bytes, message: str) -> None:
    taken: list[Reply] = []
    reader = FrameReader(taken.append, decode_reply)
    with pytest.raises(FrameError, match=message):
        reader.feed(BYTES + bad)
    assert taken == MESSAGES


class End:
    """The worker's end of a `WorkerConnection`."""

    def __init__(self) -> None:
        self.taken: list[Reply] = []
        self.connection = WorkerConnection(lambda payload: self.taken.append(decode_reply(payload)))

    async def __aenter__(self) -> Self:
        ours, self.socket = socket.socketpair()
        ours.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self.connection, sock=ours)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.connection.close()
        self.socket.close()
        await asyncio.sleep(0)

    async def closed(self) -> FrameError | None:
        return await asyncio.wait_for(self.connection.closed, 5)


async def test_closing_within_a_frame_ends_it_without_that_frame() -> None:
    async with End() as end:
        end.socket.sendall(BYTES + BYTES[:7])
        end.socket.close()
        assert await end.closed() is None
        assert end.taken == MESSAGES
        assert not end.connection.open


async def test_after_a_bad_frame_nothing_is_taken() -> None:
    async with End() as end:
        end.socket.sendall(BYTES + HEADER.pack(2) + b"\xff\xff" + BYTES)
        error = await end.closed()
        assert error is not None
        assert "doesn't decode" in error.message
        assert end.taken == MESSAGES
        assert not end.connection.open


async def test_closing_it_here_tells_the_worker() -> None:
    async with End() as end:
        assert end.connection.open
        end.connection.write(encode_frame(MESSAGES[0]))
        end.connection.close()
        assert await end.closed() is None
        end.socket.settimeout(60)
        assert end.socket.recv(65536) == encode_frame(MESSAGES[0])
        assert end.socket.recv(1) == b""
