"""`delta_ids`: the requests that a step's frame brings text for, read without making its events.

A process that only hands events on needs to know no more of them. It may also hand on parts of a frame, with
`split_step`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec

from server.ipc.messages import StepEvents

T = TypeVar("T")


class _DeltaHead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The beginning of a `Delta`, whose other fields are skipped."""

    kind: Literal["delta"]
    id: str


class _Deltas(msgspec.Struct, frozen=True, tag="step", array_like=True, gc=False):
    """A `StepEvents` of nothing but deltas."""

    events: list[_DeltaHead]


class _RawStep(msgspec.Struct, frozen=True, tag="step", array_like=True, gc=False):
    """A `StepEvents` whose events stay encoded."""

    events: list[msgspec.Raw]


_encoder = msgspec.msgpack.Encoder()
_STEP = _encoder.encode(StepEvents([]))[:-1]
"""Every step's frame begins so."""
_deltas_decoder = msgspec.msgpack.Decoder(_Deltas)
_raw_decoder = msgspec.msgpack.Decoder(_RawStep)


def delta_ids(payload: bytes) -> list[str]:
    """Return the ids of a step's deltas, in order; none if the frame holds, or may hold, anything else."""
    if not payload.startswith(_STEP):
        return []
    try:
        return [head.id for head in _deltas_decoder.decode(payload).events]
    except msgspec.MsgspecError:  # whoever decodes it finds what it is
        return []


def split_step(payload: bytes, owners: Sequence[T]) -> dict[T, bytes]:
    """Return a step's payload in parts: for each owner one with its own events, in order.

    `owners` has the owner of each event. Only for payloads of which `delta_ids` has told any.
    """
    events: dict[T, list[msgspec.Raw]] = {}
    for owner, event in zip(owners, _raw_decoder.decode(payload).events, strict=True):
        events.setdefault(owner, []).append(event)
    return {owner: _encoder.encode(_RawStep(own)) for owner, own in events.items()}
