"""A ledger of the work in each turn of the event loop, in bytes: no clock is needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from server.http import pieces
from server.ipc import frames
from server.openai import token_answers, whole_choice
from server.openai.chunks import ChunkEncoder
from server.openai.requests import reading
from server.openai.requests.body_limits import is_small


class TurnLedger:
    """Counts what the loop's thread parses and makes; `most_bytes` is the most in one of its callbacks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most_bytes = 0
        self.most_by = ""
        """The work that made the most so far."""
        self.large_reads: list[int] = []
        """The sizes of bodies that were read in the loop and shouldn't have been."""
        self.n_reads = 0
        self._thread = threading.get_ident()
        self._turn = 0
        self._watch(monkeypatch)

    def _watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = asyncio.events.Handle._run

        def turn(handle: asyncio.Handle) -> None:
            self._turn = 0
            run(handle)

        monkeypatch.setattr(asyncio.events.Handle, "_run", turn)
        read, group, feed = reading.read, pieces.grouped, ChunkEncoder.feed

        def watched_read(job: reading.ReadJob, body: bytes) -> Any:
            self.n_reads += 1
            if not is_small([body]):
                self.large_reads.append(len(body))
            self._count("read", len(body))
            return read(job, body)

        monkeypatch.setattr(reading, "read", watched_read)
        monkeypatch.setattr(
            pieces, "grouped", lambda parts: (self._made("grouped", piece) for piece in group(parts))
        )
        monkeypatch.setattr(
            ChunkEncoder, "feed", lambda encoder, event: self._made("chunk", feed(encoder, event))
        )
        monkeypatch.setattr(token_answers, "_encode", self._of("token answer", token_answers._encode))
        monkeypatch.setattr(whole_choice, "_encode", self._of("whole choice", whole_choice._encode))
        monkeypatch.setattr(frames, "_encoder", _Codec(encode=self._of("frame", frames._encoder.encode)))
        decode = frames._reply_decoder.decode

        def watched_decode(payload: bytes) -> Any:
            self._count("reply", len(payload))
            return decode(payload)

        monkeypatch.setattr(frames, "_reply_decoder", _Codec(decode=watched_decode))

    def _of(self, name: str, encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
        return lambda value: self._made(name, encode(value))

    def _made(self, name: str, made: bytes) -> bytes:
        self._count(name, len(made))
        return made

    def _count(self, name: str, n_bytes: int) -> None:
        if threading.get_ident() != self._thread:
            return
        self._turn += n_bytes
        if self._turn > self.most_bytes:
            self.most_bytes, self.most_by = self._turn, name


class _Codec:
    """Stands in for a codec of msgspec, whose methods can't be replaced."""

    def __init__(self, **methods: Callable[[Any], Any]) -> None:
        self.__dict__.update(methods)
