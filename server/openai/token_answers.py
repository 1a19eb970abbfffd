"""The answers of the token routes, as JSON made part by part while a worker's reply comes. Pure."""

from __future__ import annotations

import msgspec

from server.ipc.messages import TokenizeReply

_encode = msgspec.json.Encoder().encode


class _Piece(msgspec.Struct, frozen=True, gc=False):
    id: int
    piece: str | list[int]


class TokenAnswer:
    """The answer of `/tokenize`: a list of token ids, or of ids with the text of each."""

    def __init__(self) -> None:
        self.n_tokens = 0
        self._parts: list[bytes] = []

    def add(self, reply: TokenizeReply) -> None:
        """Take a part of the worker's reply."""
        if not reply.tokens:
            return
        entries: list[int] | list[_Piece] = reply.tokens
        if reply.pieces is not None:
            pairs = zip(reply.tokens, reply.pieces, strict=True)
            entries = [_Piece(token, _spelled(piece)) for token, piece in pairs]
        self._parts.append(b"," if self._parts else b"[")
        self._parts.append(_encode(entries)[1:-1])
        self.n_tokens += len(reply.tokens)

    def json(self, **fields: int | None) -> list[bytes]:
        """Return the answer in pieces: the tokens, then `fields`."""
        rest = _encode(fields)[1:]
        return [b'{"tokens":', *(self._parts or [b"["]), b"]", b"," if fields else b"", rest]


class TextAnswer:
    """The answer of the routes that give a text, under one name or several."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, text: str) -> None:
        """Take a part of the text."""
        self._parts.append(_encode(text)[1:-1])

    def json(self, *names: str) -> list[bytes]:
        """Return the answer in pieces."""
        pieces: list[bytes] = []
        for name in names:
            pieces += [b"," if pieces else b"{", _encode(name), b':"', *self._parts, b'"']
        return [*pieces, b"}"]


def _spelled(piece: bytes) -> str | list[int]:
    """Return a token's text, or its bytes where they are no text by themselves."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
