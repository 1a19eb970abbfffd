"""`prefix_key`: the same short text for requests whose prompts begin alike. Pure.

Whatever spreads requests over servers can send those with one key to one server, which then holds what their
prompts have in common. `Fleet` does, and balancers that hash a header.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from server.ipc.messages import Generate, Work
from server.ipc.prompts import Prompt

BEGINNING_BYTES = 1024
"""So many bytes of a prompt, some 250 tokens, are its beginning: less is soon computed again."""


_NOTHING = msgspec.Raw(b"\xc0")
_HEADER_BYTES = {0xD9: 2, 0xDA: 3, 0xDB: 5, 0xDC: 3, 0xDD: 5}
"""The sizes of the headers of msgpack's longer texts and arrays, by their first byte."""


class _Message(msgspec.Struct, frozen=True):
    """A message of a chat, as far as it is read."""

    role: str = ""
    content: msgspec.Raw = _NOTHING


class _Beginning(msgspec.Struct, frozen=True):
    """The parts of any prompt that may come first in it. Texts and token ids are left as they came."""

    text: msgspec.Raw = _NOTHING
    tokens: msgspec.Raw = _NOTHING
    parts: tuple[msgspec.Raw, ...] = ()
    before: msgspec.Raw = _NOTHING
    messages: tuple[_Message, ...] = ()
    image_mark: str = ""
    extra: tuple[tuple[msgspec.Raw, ...], ...] = ()
    prefix: msgspec.Raw = _NOTHING


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[_Beginning] = msgspec.msgpack.Decoder(_Beginning)


def prefix_key(name: str, request: Work) -> str:
    """Return a digest of the model's name, the adapters and the beginning of the prompt: 16 hex digits.

    A chat's beginning ends with the first message of its user, so all turns of a chat have one key. Vectors
    have nothing in common: their key is empty.
    """
    if not isinstance(request, Generate):
        return ""
    digest = hashlib.blake2b(repr((name, request.adapters)).encode(), digest_size=8)
    n_left = BEGINNING_BYTES
    for part in _parts(request.prompt):
        digest.update(part[:n_left])
        n_left -= len(part)
        if n_left <= 0:
            break
    return digest.hexdigest()


def _parts(prompt: Prompt | msgspec.Raw) -> Iterator[bytes]:
    """Yield the prompt's beginning in parts, whether it is encoded already or not."""
    beginning = _decoder.decode(prompt if isinstance(prompt, msgspec.Raw) else _encoder.encode(prompt))
    for texts in beginning.extra:
        yield from map(_content, texts)
    for raw in (beginning.prefix, beginning.text, beginning.tokens, *beginning.parts, beginning.before):
        yield _content(raw)
    mark = beginning.image_mark.encode()
    for message in beginning.messages:
        content = _content(message.content)
        yield b"%s\0%s\0" % (message.role.encode(), content.replace(mark, b"") if mark else content)
        if message.role == "user":
            return


def _content(raw: msgspec.Raw) -> bytes:
    """Return the beginning of a text, or of an array's packed items, without what says how long it is."""
    view = memoryview(raw)
    first = view[0]
    if 0x90 <= first <= 0xBF:
        start = 1
    elif first in _HEADER_BYTES:
        start = _HEADER_BYTES[first]
    else:
        return b""
    return bytes(view[start : start + 4 * BEGINNING_BYTES])
