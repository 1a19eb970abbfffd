"""The probe against sockets that answer in every wrong way; `tests/e2e` has the real servers."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from models.errors import RpcServerError
from models.rpc.address import ServerAddress
from models.rpc.keep_alive import SERVER_S, connections, keep_alive
from models.rpc.probe import MEMORY_SHARE, PROTOCOL, devices_of, probe, probe_all

HELLO = struct.pack("<Q", 28) + bytes(PROTOCOL) + bytes(25)
COUNT = struct.pack("<QI", 4, 2)
MEMORY = [struct.pack("<QQQ", 16, free, 9000) for free in (4000, 8000)]


@contextmanager
def answering(*replies: bytes, silent: bool = False) -> Iterator[ServerAddress]:
    """A server with these replies to a client's messages; then it closes, or is silent."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):  # the other end may go at any time
            for reply in replies:
                if not client.recv(4096):
                    return
                client.sendall(reply)
            if silent:
                ended.wait(10)
            else:
                client.shutdown(socket.SHUT_WR)
                client.recv(4096)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield ServerAddress(*listener.getsockname())
    finally:
        ended.set()
        listener.close()
        thread.join(5)


def test_a_server_tells_its_memory_and_a_part_of_it_is_counted_on() -> None:
    with (
        answering(HELLO, COUNT, *MEMORY) as first,
        answering(HELLO, struct.pack("<QI", 4, 1), MEMORY[0]) as second,
    ):
        servers = probe_all([first, second])
    assert [server.memory_bytes for server in servers] == [(4000, 8000), (4000,)]
    devices = devices_of(servers)
    assert [device.memory_free for device in devices] == [int(n * MEMORY_SHARE) for n in (4000, 8000, 4000)]
    assert {device.type for device in devices} == {"gpu"}
    assert devices[0].description == str(first)


def test_all_servers_that_cannot_be_used_are_named() -> None:
    old = struct.pack("<Q", 28) + bytes([6, 9, 9]) + bytes(25)
    with (
        answering(old) as first,
        answering(HELLO, COUNT, *MEMORY) as second,
        answering(old) as third,
        pytest.raises(RpcServerError) as caught,
    ):
        probe_all([first, second, third])
    assert str(first) in caught.value.message
    assert str(third) in caught.value.message
    assert str(second) not in caught.value.message


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        (
            [struct.pack("<Q", 28) + bytes([6, 9, 9]) + bytes(25)],
            r"speaks version 6\.9\.9 .* this Corral 7\.0\.0",
        ),
        ([struct.pack("<Q", 28) + bytes([7, 0, 1]) + bytes(25)], r"version 7\.0\.1"),
        ([struct.pack("<Q", 3) + bytes([2, 0, 0])], r"version 2\.0\.0"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "is no RPC server of this version: it speaks HTTP"),
        ([], "closes the connection without an answer|broke the connection"),
        ([HELLO[:10]], "closes the connection without an answer|broke the connection"),
        ([HELLO, struct.pack("<QI", 4, 0)], "says it has 0 devices"),
        ([HELLO, struct.pack("<QI", 4, 1 << 31)], "devices"),
        ([HELLO, struct.pack("<QI", 5, 1)], "answers with 5 bytes, not 4"),
        ([HELLO, COUNT, struct.pack("<QQQ", 16, 9001, 9000)], "9001 of 9000 bytes are free"),
        ([HELLO, COUNT, struct.pack("<QQQ", 16, 1, 1 << 63)], "bytes are free"),
    ],
)
def test_what_is_no_server_of_this_version(replies: list[bytes], words: str) -> None:
    with answering(*replies) as address, pytest.raises(RpcServerError, match=words) as error:
        probe(address)
    assert str(address) in error.value.message


@pytest.mark.parametrize("replies", [[], [HELLO], [HELLO, COUNT, MEMORY[0][:5]]])
def test_one_that_is_silent_is_busy_or_stopped(replies: list[bytes]) -> None:
    began_s = time.monotonic()
    with answering(*replies, silent=True) as address, pytest.raises(RpcServerError, match="one at a time"):
        probe(address, timeout_s=0.2)
    assert time.monotonic() - began_s < 2.0


def test_one_that_is_absent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = ServerAddress(*listener.getsockname())
    with pytest.raises(RpcServerError, match="can't be reached: Connection refused; start"):
        probe(address)
    with pytest.raises(RpcServerError, match="no IPv4 address"):
        probe(ServerAddress("no-such-host.invalid", 1))


def test_one_whose_queue_is_full_is_waited_for_no_longer() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        with pytest.raises(RpcServerError, match=r"no answer within 0\.2 s"):
            probe(ServerAddress(*listener.getsockname()), timeout_s=0.2)
        for sock in waiting:
            sock.close()


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sock,
    ):
        keep_alive(sock, 1)
        with pytest.raises(TimeoutError):
            sock.sendall(bytes(64 << 20))


def test_the_kernel_is_told_to_look_after_this_process_own_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as sock:
            found = {own: (one, peer) for one, own, peer in connections()}
            assert found[sock.getsockname()][1] == listener.getsockname()
            for one, own, _peer in connections():
                if own == sock.getsockname():
                    keep_alive(one, SERVER_S)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        n_open = len(list(connections()))
        assert n_open == len(list(connections())), "it leaves no descriptor open"
