"""Frames on the socket between the API process and a worker: a 4-byte little-endian length, then msgpack.

The first frame down is the `ModelSpec`; after it every frame down is a `Request`, every frame up a `Reply`.
Both ends use this codec; `Channel` is the worker's blocking end, the supervisor has an asyncio one.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import TypeVar

import msgspec

from models.errors import WorkerError
from server.worker.messages import ModelSpec, Reply, Request

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


def frame_length(header: bytes) -> int:
    """Payload length that a 4-byte header announces. Raises FrameError beyond the limit."""
    length: int = HEADER.unpack(header)[0]
    check_length(length)
    return length


def decode_request(payload: bytes) -> Request:
    return _decode(_request_decoder, payload)


def decode_reply(payload: bytes) -> Reply:
    return _decode(_reply_decoder, payload)


def decode_spec(payload: bytes) -> ModelSpec:
    return _decode(_spec_decoder, payload)


def _decode(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise FrameError(f"a frame that doesn't decode: {error}; both ends must be of one version") from error


class Channel:
    """The worker's end: blocking. One thread receives; any thread may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = connection.makefile("rb", buffering=65536)
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
