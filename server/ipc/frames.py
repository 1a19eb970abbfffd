"""The codec of the socket between the API process and a worker: 4-byte length, then msgpack.

The length is little-endian and counts the payload's bytes. The first frame to the worker is the `ModelSpec`,
every later one a `WorkerRequest`; every frame to the API process is a `Reply`. Both ends use this codec: the
worker in the blocking `server.worker.channel`, the supervisor in the asyncio
`server.supervisor.process.connection`.
"""

from __future__ import annotations

import secrets
import struct
from typing import Any, TypeVar

import msgspec

from models.errors import WorkerError
from server.ipc.messages import LONG_FIELD, Reply, WorkerRequest
from server.ipc.model_spec import ModelSpec

T = TypeVar("T")

HEADER = struct.Struct("<I")
"""A frame begins with its payload's length in bytes."""
MAX_FRAME_BYTES = 64 * 2**20
"""A payload of more bytes than this is refused: by its sender before it is sent, by its receiver unread."""

_MARK = msgspec.msgpack.encode(secrets.token_bytes(16))
"""Nobody can write this into a request: it marks the place of what is encoded already."""
_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[WorkerRequest] = msgspec.msgpack.Decoder(WorkerRequest)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_spec_decoder: msgspec.msgpack.Decoder[ModelSpec] = msgspec.msgpack.Decoder(ModelSpec)


class FrameError(WorkerError):
    """A frame that is too long, cut off, or doesn't hold what it should."""


def encode_frame(message: ModelSpec | WorkerRequest | Reply) -> bytes:
    """Return header and payload, ready to be written.

    Raises FrameError if the payload is longer than allowed.
    """
    payload = _encoder.encode(message)
    check_length(len(payload))
    return HEADER.pack(len(payload)) + payload


def frame_parts(message: ModelSpec | WorkerRequest | Reply) -> list[bytes | memoryview]:
    """Return the same as `encode_frame` in parts, to be written one after another.

    A long field that is encoded already is a part of its own, which isn't copied. Raises FrameError.
    """
    field = LONG_FIELD.get(type(message), "")
    long = getattr(message, field, None)
    if not isinstance(long, msgspec.Raw):
        return [encode_frame(message)]
    changed: Any = msgspec.structs.replace(message, **{field: msgspec.Raw(_MARK)})
    before, _, after = _encoder.encode(changed).partition(_MARK)
    part = memoryview(long)
    n_bytes = len(before) + len(part) + len(after)
    check_length(n_bytes)
    return [HEADER.pack(n_bytes) + before, part, after]


def check_length(n_bytes: int) -> None:
    """Raise FrameError if a payload of `n_bytes` is longer than allowed."""
    if n_bytes > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {n_bytes:,} bytes; the limit is {MAX_FRAME_BYTES:,}; send less at once")


def frame_length(data: bytes, start: int = 0) -> int:
    """Return the payload's length from the 4-byte header at `start`. Raises FrameError beyond the limit."""
    length: int = HEADER.unpack_from(data, start)[0]
    if length > MAX_FRAME_BYTES:
        check_length(length)
    return length


def decode_request(payload: bytes) -> WorkerRequest:
    """Return the request in `payload`. Raises FrameError if there is none."""
    return _decode(_request_decoder, payload)


def decode_reply(payload: bytes) -> Reply:
    """Return the reply in `payload`. Raises FrameError if there is none."""
    try:
        return _reply_decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise _undecoded(error) from error


def decode_spec(payload: bytes) -> ModelSpec:
    """Return the model's specification in `payload`. Raises FrameError if there is none."""
    return _decode(_spec_decoder, payload)


def _decode(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise _undecoded(error) from error


def _undecoded(error: msgspec.MsgspecError) -> FrameError:
    return FrameError(f"a frame that doesn't decode: {error}; both ends must be of one version")
