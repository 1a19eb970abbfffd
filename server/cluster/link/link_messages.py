"""The messages between a replica and an API process, in the frames of `server.ipc.frames`.

The replica connects and sends the token of its `LinkAddress`; the API process answers with the proof. Then
come frames: the replica's first one is its `Hello`. A request's `id` is that of its one stay in one replica,
a `Run`.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from server.cluster.link.refusals import Refusal
from server.ipc.frames import HEADER, FrameError, check_length
from server.ipc.messages import Cancel, Question, Reply, StepEvents, Work
from server.supervisor.protocol import ModelStatus

BEAT_S = 1.0
"""A replica says how it does at this interval."""


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello", array_like=True):
    """A replica's facts, once its model is loaded."""

    replica: str
    """Its own name, the same to all API processes and no other replica's."""
    deployment: str
    version: str = ""
    """Its deployment's version when it was started."""
    statuses: list[ModelStatus]
    """The names that it serves; the first is its model's."""
    max_ongoing: int
    """It declines further requests while it has so many."""


class Beat(msgspec.Struct, frozen=True, tag="beat", array_like=True):
    """The replica lives, and how it does."""

    n_ongoing: int = 0
    """The requests that it has of all API processes."""
    is_ready: bool = True
    """False while its worker is started again."""
    is_draining: bool = False
    """True once it ends: it takes no request any more."""


class Declined(msgspec.Struct, frozen=True, tag="declined", array_like=True):
    """The replica doesn't take a request now; another one may."""

    id: str


class Refused(msgspec.Struct, frozen=True, tag="refused", array_like=True):
    """A request has ended with an error in place of events."""

    id: str
    refusal: Refusal


class Answer(msgspec.Struct, frozen=True, tag="answer", array_like=True):
    """The reply to a question, or the error in its place."""

    id: str
    reply: Reply | Refusal


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Serve a request. `name` is one of the replica's own names, empty for its model."""

    name: str
    work: Work


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Answer a question about the model of that name, or the main one."""

    id: str
    name: str
    question: Question


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """This replica's share of the requests that wait in the API process for a place in one."""

    n: float


FromReplica = Hello | Beat | StepEvents | Declined | Refused | Answer
ToReplica = Begin | Ask | Cancel | Waiting

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_from_replica: msgspec.msgpack.Decoder[FromReplica] = msgspec.msgpack.Decoder(FromReplica)
_to_replica: msgspec.msgpack.Decoder[ToReplica] = msgspec.msgpack.Decoder(ToReplica)


def link_frame(message: FromReplica | ToReplica) -> bytes:
    """Return header and payload. Raises FrameError if the payload is longer than allowed."""
    payload = _encoder.encode(message)
    check_length(len(payload))
    return HEADER.pack(len(payload)) + payload


def decode_from_replica(payload: bytes) -> FromReplica:
    """Return a replica's message. Raises FrameError if there is none."""
    return _decoded(_from_replica, payload)


def decode_to_replica(payload: bytes) -> ToReplica:
    """Return an API process's message. Raises FrameError if there is none."""
    return _decoded(_to_replica, payload)


def _decoded(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise FrameError(f"a frame that doesn't decode: {error}; all machines need one version") from error
