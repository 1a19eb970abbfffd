"""The bytes of the calls to replicas: requests and questions there, replies and refusals back. Pure.

`ReplicaService` returns no errors as exceptions: what carries its calls may not be able to. A request's
refusal is what its call returns, and a question's takes the place of its reply.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from models import errors
from models.errors import CorralError, RequestError
from server.cluster.handles import ReplicaInfo
from server.ipc.frames import FrameError, check_length
from server.ipc.messages import Generate, Pool, Question, Reply, Work

R = TypeVar("R")
T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


class Refusal(msgspec.Struct, frozen=True, tag="refusal", array_like=True):
    """An error that a replica answers with, as the caller is to raise it."""

    kind: str
    """The name of the error's class in `models.errors`, or of its nearest base there."""
    message: str
    """The line for clients."""
    fields: dict[str, str | int | float | bool | None] = {}
    """The plain attributes that the error has besides."""


_work_decoder: msgspec.msgpack.Decoder[Work] = msgspec.msgpack.Decoder(Generate | Pool)
_question_decoder: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
_answer_decoder: msgspec.msgpack.Decoder[Reply | Refusal] = msgspec.msgpack.Decoder(Reply | Refusal)
_refusal_decoder: msgspec.msgpack.Decoder[Refusal] = msgspec.msgpack.Decoder(Refusal)
_info_decoder: msgspec.msgpack.Decoder[ReplicaInfo] = msgspec.msgpack.Decoder(ReplicaInfo)


# --- there ---


def encode_call(message: Work | Question) -> bytes:
    """Return a request or a question for a replica. Raises RequestError for one that is too large."""
    payload = _encoder.encode(message)
    try:
        check_length(len(payload))
    except FrameError as error:
        raise RequestError(f"the request is too large: {error.message}") from error
    return payload


def decode_work(frame: bytes) -> Work:
    """Return the request in a call. Raises FrameError if there is none."""
    return _decode(_work_decoder, frame)


def decode_question(frame: bytes) -> Question:
    """Return the question in a call. Raises FrameError if there is none."""
    return _decode(_question_decoder, frame)


# --- back ---


def encode_answer(answer: msgspec.Struct) -> bytes:
    """Return what a call returns: a `Reply`, a `Refusal` or a `ReplicaInfo`."""
    return _encoder.encode(answer)


def decode_info(answer: bytes) -> ReplicaInfo:
    """Return a replica's facts. Raises FrameError if there are none."""
    return _decode(_info_decoder, answer)


def decode_answer(answer: bytes, reply_type: type[R]) -> R:
    """Return the reply in what a call returned. Raises the error in it, and FrameError for anything else."""
    reply = _decode(_answer_decoder, answer)
    if isinstance(reply, Refusal):
        raise error_of(reply)
    if not isinstance(reply, reply_type):
        raise FrameError(f"a replica answered with {type(reply).__name__}, not {reply_type.__name__}")
    return reply


def decode_refusal(answer: bytes) -> Refusal:
    """Return the refusal that a request's call returned. Raises FrameError if there is none."""
    return _decode(_refusal_decoder, answer)


def refusal_of(error: CorralError) -> Refusal:
    """Return an error as a replica sends it."""
    known = next(base for base in type(error).__mro__ if getattr(errors, base.__name__, None) is base)
    others = {key: value for key, value in vars(error).items() if key not in ("message", "public")}
    fields = {key: value for key, value in others.items() if isinstance(value, str | int | float | None)}
    return Refusal(known.__name__, error.public, fields)


def error_of(refusal: Refusal) -> CorralError:
    """Return a replica's error as it was there, without what isn't for clients."""
    error_class: Any = getattr(errors, refusal.kind, None)
    if not (isinstance(error_class, type) and issubclass(error_class, CorralError)):
        return CorralError(refusal.message)
    error = error_class.__new__(error_class)
    CorralError.__init__(error, refusal.message)
    vars(error).update(refusal.fields)
    return error


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise FrameError(f"a call that doesn't decode: {error}; all machines need one version") from error
