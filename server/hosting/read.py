"""`read_hosted`: what a body of `/invocations` is for, and the bodies that stand in it. Pure.

It is one of the shapes of `shapes`, or Vertex's `instances`, each of which is one, over common `parameters`.
"""

from __future__ import annotations

import msgspec

from models.errors import RequestError
from server.hosting.attributes import Attributes
from server.hosting.shapes import Members, Shape, shape_of
from server.openai.errors import BodyTooLarge

MOST_INSTANCES = 1_000
"""A body has at most so many instances."""
MOST_BYTES = 64 << 20
"""The instances have at most so many bytes together, each with the parameters, which all of them get."""

_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.encode


class HostedRead(msgspec.Struct, frozen=True, kw_only=True, tag="hosted"):
    """A body's shape, or those of its instances."""

    shapes: list[Shape]
    instances: list[bytes] | None = None
    """The body of each instance; None: the whole body is one of the shapes."""
    opening: bytes = b""
    """Members, each with a comma behind it, that belong after the whole body's first brace."""
    unknown: list[str] = []
    """The names of members beside the instances that mean nothing."""
    without_effect: list[str] = []


def read_hosted(body: bytes, attributes: Attributes) -> HostedRead:
    """Return what `body` is for. Raises RequestError, with the index of an instance that is wrong."""
    members = members_of(body)
    if "instances" in members:
        return _instances(members, attributes)
    shape = shape_of(members)
    added = _left_out(members, attributes)
    opening = b"".join([_encode(name) + b":" + _encode(value) + b"," for name, value in added.items()])
    return HostedRead(shapes=[shape], opening=opening)


def members_of(body: bytes | msgspec.Raw, where: str = "the request's body") -> Members:
    """Return the members of a JSON object. Raises RequestError."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RequestError(f"{where} must be a JSON object", code="invalid_type") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{where} is not valid JSON", code="invalid_json") from error


def _instances(members: Members, attributes: Attributes) -> HostedRead:
    try:
        given = _list_decoder.decode(members["instances"])
    except msgspec.ValidationError as error:
        raise RequestError(
            "'instances' must be a list of objects", param="instances", code="invalid_type"
        ) from error
    if not 0 < len(given) <= MOST_INSTANCES:
        raise RequestError(
            f"'instances' has {len(given):,} requests; send 1 to {MOST_INSTANCES:,}",
            param="instances",
            code="invalid_value",
        )
    common = members.get("parameters", msgspec.Raw(b"{}"))
    parameters = {} if bytes(common) == b"null" else members_of(common, "'parameters'")
    shapes: list[Shape] = []
    bodies: list[bytes] = []
    n_bytes = 0
    for index, each in enumerate(given):
        where = f"instances[{index}]"
        instance = {**parameters, **members_of(each, where)}
        if bytes(instance.get("stream", b"")) == b"true":
            raise RequestError(
                f"{where} asks for a stream, and predictions come whole; leave 'stream' out, or send the"
                " request without 'instances'",
                param="stream",
                code="invalid_value",
            )
        shapes.append(shape_of(instance, where))
        added = {name: msgspec.Raw(_encode(value)) for name, value in _left_out(instance, attributes).items()}
        bodies.append(_encode({**added, **instance}))
        if (n_bytes := n_bytes + len(bodies[-1])) > MOST_BYTES:
            raise BodyTooLarge(
                f"the instances, each with the parameters, have more than {MOST_BYTES:,} bytes; send fewer at"
                " once",
                code="request_too_large",
            )
    unknown = sorted(members.keys() - {"instances", "parameters"})[:20]
    return HostedRead(shapes=shapes, instances=bodies, unknown=[name[:80] for name in unknown])


def _left_out(members: Members, attributes: Attributes) -> dict[str, str]:
    """Return the members of the attributes that a body leaves out. Raises RequestError for two models."""
    added = {}
    if "model" not in members and attributes.model:
        added["model"] = f"{attributes.model}:{attributes.adapter}".rstrip(":")
    elif attributes.adapter:
        raise RequestError(
            "the body names a model and X-Amzn-SageMaker-Custom-Attributes an adapter; name it in the body:"
            " MODEL:ADAPTER",
            param="model",
            code="invalid_value",
        )
    if "prompt_cache_key" not in members and attributes.session:
        added["prompt_cache_key"] = attributes.session
    return added
