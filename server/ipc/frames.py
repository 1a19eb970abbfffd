"""Frames on the socket between the API process and a worker: a 4-byte little-endian length, then msgpack.

The first frame down is the `ModelSpec`; after it every frame down is a `Request`, every frame up a `Reply`.
Both ends use this codec; `Channel` is the worker's blocking end, the supervisor has an asyncio one.
"""

from __future__ import annotations

import io
import select
import socket
import struct
import threading
from typing import Any, TypeVar

import msgspec

from models.errors import WorkerError
from server.ipc.messages import ModelSpec, Reply, Request

T = TypeVar("T")

HEADER = struct.Struct("<I")
MAX_FRAME_BYTES = 64 * 2**20
"""A frame longer than this is refused: by the sender before it is sent, by the receiver before it is read."""

_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_spec_decoder: msgspec.msgpack.Decoder[ModelSpec] = msgspec.msgpack.Decoder(ModelSpec)


class FrameError(WorkerError):
    """A frame that is too long, cut off, or doesn't hold what it should."""


def encode_frame(message: ModelSpec | Request | Reply) -> bytes:
    """Header and payload, ready to be written. Raises FrameError if the payload is longer than allowed."""
    payload = _encoder.encode(message)
    check_length(len(payload))
    return HEADER.pack(len(payload)) + payload


def check_length(n_bytes: int) -> None:
    if n_bytes > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {n_bytes:,} bytes; the limit is {MAX_FRAME_BYTES:,}; send less at once")


def frame_length(data: bytes, start: int = 0) -> int:
    """Payload length that the 4-byte header at `start` announces. Raises FrameError beyond the limit."""
    length: int = HEADER.unpack_from(data, start)[0]
    if length > MAX_FRAME_BYTES:
        check_length(length)
    return length


def decode_request(payload: bytes) -> Request:
    return _decode(_request_decoder, payload)


def decode_reply(payload: bytes) -> Reply:
    try:
        return _reply_decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise _undecoded(error) from error


def decode_spec(payload: bytes) -> ModelSpec:
    return _decode(_spec_decoder, payload)


def _decode(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise _undecoded(error) from error


def _undecoded(error: msgspec.MsgspecError) -> FrameError:
    return FrameError(f"a frame that doesn't decode: {error}; both ends must be of one version")


class _Arriving(io.RawIOBase):
    """A socket's bytes. Waits with poll, for bytes alone.

    A thread that waits in `recv` is woken each time the other side has read something that we sent: there is
    room for more, it is told. That would be once per token, in the middle of a decode.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._poll.poll()
        return self._socket.recv_into(buffer)


class Channel:
    """The worker's end: blocking. One thread receives; any thread may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = io.BufferedReader(_Arriving(connection), 65536)
        self._send_lock = threading.Lock()

    def send(self, message: Reply) -> None:
        """Write one whole frame. Raises OSError when the other side is gone."""
        frame = encode_frame(message)
        with self._send_lock:
            self._socket.sendall(frame)

    def receive_spec(self) -> ModelSpec | None:
        """The first frame; None if the other side closed before it."""
        payload = self._receive()
        return None if payload is None else decode_spec(payload)

    def receive(self) -> Request | None:
        """The next request, waiting for it; None when the other side has closed."""
        payload = self._receive()
        return None if payload is None else decode_request(payload)

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def _receive(self) -> bytes | None:
        header: bytes = self._reader.read(HEADER.size)
        if not header:
            return None
        if len(header) < HEADER.size:
            raise FrameError("the connection closed inside a frame's header")
        length = frame_length(header)
        payload: bytes = self._reader.read(length)
        if len(payload) < length:
            raise FrameError(f"the connection closed after {len(payload):,} of a frame's {length:,} bytes")
        return payload
