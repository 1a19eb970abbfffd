"""A worker's blocking end of the socket to the API process."""

from __future__ import annotations

import io
import select
import socket
import threading
from typing import Any

from server.ipc.frames import HEADER, FrameError, decode_request, decode_spec, encode_frame, frame_length
from server.ipc.messages import Reply, WorkerRequest
from server.ipc.model_spec import ModelSpec
from server.ipc.parts import parts_of


class _PolledSocket(io.RawIOBase):
    """A socket's bytes, read after a wait with poll, which is for bytes alone.

    A thread that waits in `recv` is woken each time the other side has read something that we sent, as there
    is room for more. That would be once per token, in the middle of a decode.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._poll.poll()
        return self._socket.recv_into(buffer)


class Channel:
    """The worker's end of its connection. One thread receives; any thread may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = io.BufferedReader(_PolledSocket(connection), 65536)
        self._send_lock = threading.Lock()

    def send(self, message: Reply) -> None:
        """Write the message, a long one in parts between which other threads may write.

        Raises OSError when the other side is gone, FrameError if the message is longer than allowed.
        """
        for part in parts_of(message):
            frame = encode_frame(part)
            with self._send_lock:
                self._socket.sendall(frame)

    def receive_spec(self) -> ModelSpec | None:
        """Wait for the first frame and return it; None if the other side closed before it."""
        payload = self._receive()
        return None if payload is None else decode_spec(payload)

    def receive(self) -> WorkerRequest | None:
        """Wait for the next request and return it; None when the other side has closed."""
        payload = self._receive()
        return None if payload is None else decode_request(payload)

    def close(self) -> None:
        """Close the socket."""
        self._reader.close()
        self._socket.close()

    def _receive(self) -> bytes | None:
        """Wait for the next frame and return its payload; None at the end between two frames."""
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
