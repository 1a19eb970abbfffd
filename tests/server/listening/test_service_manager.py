from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import ConfigError
from server.listening.service_manager import ServiceManager

OWN = str(os.getpid())


@pytest.fixture
def hears(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's end of the notifications."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(60)
        yield channel


def handed_over(*sockets: socket.socket) -> tuple[int, int]:
    """Put sockets under neighbouring descriptors, as a manager does; return the first and their number."""
    first = 200
    for number, each in enumerate(sockets):
        os.dup2(each.fileno(), first + number, inheritable=True)
    return first, len(sockets)


def test_without_a_manager_nothing_happens() -> None:
    manager = ServiceManager.from_environment({})
    assert manager.sockets == []
    assert not manager.listens
    manager.ready("x")
    manager.reloading()
    manager.stopping("x")
    asyncio.run(manager.show_life())


def test_sockets_that_it_has_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inet, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        first, n = handed_over(inet, unix)
        env = {"LISTEN_PID": OWN, "LISTEN_FDS": str(n), "LISTEN_FDNAMES": "a:b", "PATH": "/bin"}
        manager = ServiceManager.from_environment(env, first)
        assert env == {"PATH": "/bin"}, "child processes must not believe that they are meant"
        assert [each.getsockname() for each in manager.sockets] == [inet.getsockname(), unix.getsockname()]
        assert not any(os.get_inheritable(each.fileno()) for each in manager.sockets)
        for each in manager.sockets:
            each.close()


def test_those_of_another_process_are_not_taken() -> None:
    env = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "WATCHDOG_PID": "1", "WATCHDOG_USEC": "1000"}
    manager = ServiceManager.from_environment(env)
    assert (manager.sockets, manager.watchdog_s) == ([], None)
    assert env == {}


def test_what_is_no_door() -> None:
    with socket.socket() as idle, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for each in (idle, datagrams):
            first, _ = handed_over(each)
            with pytest.raises(ConfigError, match="takes no connections"):
                ServiceManager.from_environment({"LISTEN_PID": OWN, "LISTEN_FDS": "1"}, first)
    with pytest.raises(ConfigError, match="descriptor 199 is no socket"):
        ServiceManager.from_environment({"LISTEN_PID": OWN, "LISTEN_FDS": "1"}, 199)
    with pytest.raises(ConfigError, match="LISTEN_FDS=many in the environment is no number"):
        ServiceManager.from_environment({"LISTEN_PID": OWN, "LISTEN_FDS": "many"})


def test_what_it_hears(hears: socket.socket) -> None:
    env = {"NOTIFY_SOCKET": hears.getsockname(), "WATCHDOG_USEC": "30000"}
    manager = ServiceManager.from_environment(env)
    assert manager.listens
    assert manager.watchdog_s == 0.03
    manager.reloading()
    first, second = hears.recv(1000).decode().split("\n")
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    manager.ready("up")
    manager.stopping("down")
    assert [hears.recv(1000) for _ in range(2)] == [b"READY=1\nSTATUS=up", b"STOPPING=1\nSTATUS=down"]

    async def live() -> None:
        life = asyncio.create_task(manager.show_life())
        for _ in range(3):
            assert await asyncio.to_thread(hears.recv, 1000) == b"WATCHDOG=1"
        life.cancel()

    asyncio.run(live())


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0corral-test-{OWN}")
        channel.settimeout(60)
        ServiceManager.from_environment({"NOTIFY_SOCKET": f"@corral-test-{OWN}"}).ready("up")
        assert channel.recv(1000) == b"READY=1\nSTATUS=up"


def test_a_manager_that_is_gone_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ServiceManager.from_environment({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("up")
    assert "doesn't hear us" in caplog.text
