"""`probe`: asks an RPC server whether llama.cpp could use it, and what memory it has.

llama.cpp has no time-outs and ends its process when a server fails it, so whatever can be known before is
asked here, with plain sockets. A server has one client at a time: who probes it takes its turn for a moment,
and is told that it is busy while another has it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from models.errors import RpcServerError
from models.machine.device import Device
from models.rpc.address import ServerAddress

PROTOCOL = (7, 0, 0)
"""The version of the pinned llama.cpp. A server of another one may number the operations otherwise."""
TIMEOUT_S = 2.0
"""A server has so long for all that is asked."""
MEMORY_SHARE = 0.75
"""So much of a server's memory is counted on: its back end reports all of it as free where it is a CPU, and a
server that is used to the full is one that the system ends."""
MAX_DEVICES = 64
"""No server has more devices."""

_HELLO, _DEVICE_COUNT, _DEVICE_MEMORY = 14, 15, 11
_HEAD = struct.Struct("<BQ")
_SIZE = struct.Struct("<Q")
_CAPABILITIES = bytes(24)
"""None: the transport stays TCP."""
_HELLO_REPLY = 28
"""Three numbers of the version, a byte that fills up, and the capabilities."""


@dataclass(frozen=True, slots=True)
class RpcServer:
    """A server that answered, and its devices' memory in bytes."""

    address: str
    memory_bytes: tuple[int, ...]
    """The free memory of each device, as its back end reports it."""

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices as a placement counts them."""
        return tuple(
            Device(f"RPC[{self.address}]#{number}", self.address, "gpu", n_bytes, int(n_bytes * MEMORY_SHARE))
            for number, n_bytes in enumerate(self.memory_bytes)
        )


def devices_of(servers: Sequence[RpcServer]) -> tuple[Device, ...]:
    """Return the devices of all the servers, in order."""
    return tuple(device for server in servers for device in server.devices)


def assumed_devices(addresses: Sequence[str]) -> tuple[Device, ...]:
    """Return devices with room for everything: for who may not ask the servers, as a worker has them."""
    return tuple(Device(f"RPC[{address}]", address, "gpu", 1 << 60, 1 << 60) for address in addresses)


def probe_all(addresses: Sequence[ServerAddress], timeout_s: float = TIMEOUT_S) -> tuple[RpcServer, ...]:
    """Return what each of the servers answers; they are asked side by side.

    Raises RpcServerError, which names all that can't be used.
    """
    with ThreadPoolExecutor(max(1, len(addresses)), "rpc-probe") as pool:
        probes = [pool.submit(probe, address, timeout_s) for address in addresses]
    problems = [problem for one in probes if isinstance(problem := one.exception(), RpcServerError)]
    if len(problems) > 1:
        again_s = max((problem.retry_after_s or 0.0 for problem in problems), default=0.0)
        raise RpcServerError("; ".join(problem.message for problem in problems), again_s or None)
    return tuple(one.result() for one in probes)


def probe(address: ServerAddress, timeout_s: float = TIMEOUT_S) -> RpcServer:
    """Return what a server answers within `timeout_s`, and leave it.

    Raises RpcServerError: it is absent, busy or stopped, of another version, or something else.
    """
    end_s = time.monotonic() + timeout_s
    with _connected(address, timeout_s) as sock:
        try:
            return _Conversation(address, sock, end_s).ask()
        except TimeoutError:
            raise RpcServerError(
                f"the server {address} takes the connection and doesn't answer within {timeout_s:g} s:"
                " another client has it, of which it serves one at a time, or it is stopped, or no RPC server"
            ) from None
        except OSError as error:
            raise RpcServerError(
                f"the server {address} broke the connection ({_words(error)}); see its log, and whether an"
                " RPC server is there at all"
            ) from None


def _connected(address: ServerAddress, timeout_s: float) -> socket.socket:
    """Return a connection, by IPv4, as llama.cpp makes one. Raises RpcServerError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect((address.host, address.port))
    except TimeoutError:
        sock.close()
        raise RpcServerError(
            f"the server {address} can't be reached: no answer within {timeout_s:g} s; is the machine on, the"
            " network whole and the port open?"
        ) from None
    except OSError as error:
        sock.close()
        raise RpcServerError(
            f"the server {address} can't be reached: {_words(error)}; start `corral cluster share` there, or"
            " the tunnel to it"
        ) from None
    return sock


class _Conversation:
    """The questions to one server, and the checks of what it answers."""

    def __init__(self, address: ServerAddress, sock: socket.socket, end_s: float) -> None:
        self._address = address
        self._sock = sock
        self._end_s = end_s

    def ask(self) -> RpcServer:
        """Return what the server says of itself. Raises RpcServerError, and OSError of the connection."""
        self._check_version()
        (count,) = struct.unpack("<I", self._answer(_DEVICE_COUNT, b"", 4))
        if not 0 < count <= MAX_DEVICES:
            raise self._stranger(f"says it has {count} devices")
        memory_bytes = []
        for device in range(count):
            free, total = struct.unpack("<QQ", self._answer(_DEVICE_MEMORY, struct.pack("<I", device), 16))
            if free > total or total >= 1 << 62:
                raise self._stranger(f"says that {free} of {total} bytes are free")
            memory_bytes.append(free)
        return RpcServer(str(self._address), tuple(memory_bytes))

    def _check_version(self) -> None:
        self._send(_HELLO, _CAPABILITIES)
        (size,) = _SIZE.unpack(self._read(_SIZE.size))
        if _SIZE.pack(size).startswith(b"HTTP/"):
            raise self._stranger("speaks HTTP")
        if size not in (3, _HELLO_REPLY):  # the answer was three numbers before there were capabilities
            raise self._stranger(f"answers with {size} bytes")
        version = tuple(self._read(size)[:3])
        if version != PROTOCOL:
            theirs, ours = (".".join(map(str, one)) for one in (version, PROTOCOL))
            raise RpcServerError(
                f"the server {self._address} speaks version {theirs} of llama.cpp's RPC protocol, and this"
                f" Corral {ours}; install the same version of Corral on both machines"
            )

    def _answer(self, command: int, body: bytes, size: int) -> bytes:
        self._send(command, body)
        (told,) = _SIZE.unpack(self._read(_SIZE.size))
        if told != size:
            raise self._stranger(f"answers with {told} bytes, not {size}")
        return self._read(size)

    def _send(self, command: int, body: bytes) -> None:
        self._sock.settimeout(self._left_s())
        self._sock.sendall(_HEAD.pack(command, len(body)) + body)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._sock.settimeout(self._left_s())
            part = self._sock.recv(size - len(data))
            if not part:
                raise self._stranger("closes the connection without an answer")
            data += part
        return data

    def _left_s(self) -> float:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _stranger(self, what: str) -> RpcServerError:
        return RpcServerError(
            f"at {self._address} is no RPC server of this version: it {what}; start `corral cluster share`"
            " there, from the same version of Corral"
        )


def _words(error: OSError) -> str:
    """Return the system's words for an error, without its number."""
    if isinstance(error, socket.gaierror):
        return "its name has no IPv4 address"
    number = error.errno or 0
    return os.strerror(number) if number in errno.errorcode else str(error)
