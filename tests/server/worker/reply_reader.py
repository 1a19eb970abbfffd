"""`ReplyReader`: a worker's replies from its socket, long ones made whole again."""

from __future__ import annotations

from collections import defaultdict
from typing import BinaryIO

from server.ipc.frames import HEADER, decode_reply, frame_length
from server.ipc.messages import Reply
from server.ipc.parts import joined


class ReplyReader:
    """Reads replies one after the other. Parts of several may come in turns."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._parts: dict[str, list[Reply]] = defaultdict(list)

    def read(self) -> Reply | None:
        """The next reply that is whole; None when the worker has closed its end."""
        while header := self._file.read(HEADER.size):
            reply = decode_reply(self._file.read(frame_length(header)))
            name = getattr(reply, "id", None)
            if name is None:
                return reply
            self._parts[name].append(reply)
            if not getattr(reply, "more", False):
                return joined(self._parts.pop(name))
        return None
