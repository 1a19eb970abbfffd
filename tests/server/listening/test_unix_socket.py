from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from models.errors import ConfigError, CorralError
from server.listener import Listener
from server.listening.unix_socket import UnixListener
from tests.server.listening.test_tls import LOOPS, run


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_socket_with_its_access_rights(tmp_path: Path, loop: str, mode: int) -> None:
    path = tmp_path / "corral.sock"
    umask = os.umask(0o077)
    os.umask(umask)

    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while part := client.recv(4096):
                answer += part
            return answer

    async def act(_port: int) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert (await asyncio.to_thread(ask)).endswith(b"\r\n\r\nhttp")

    with UnixListener.at(path, mode) as listener:
        assert listener.unix_path == str(path)
        run(loop, listener, act)
    assert not path.exists()
    assert os.umask(umask) == umask


def test_one_that_a_killed_server_has_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "corral.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with UnixListener.at(path, 0o600) as listener:
        listener.listen()
        with pytest.raises(CorralError, match="another server listens at"):
            UnixListener.at(path, 0o600)
        assert path.exists()


def test_a_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("important")
    link = tmp_path / "link"
    link.symlink_to(path)
    for each in (path, link, tmp_path):
        with pytest.raises(ConfigError, match="is no socket, and stays as it is"):
            UnixListener.at(each, 0o600)
    assert path.read_text() == "important"


def test_paths_that_can_be_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        UnixListener.at(tmp_path / "none" / "corral.sock", 0o600)
    with pytest.raises(ConfigError, match="has at most some 100 bytes"):
        UnixListener.at(tmp_path / ("long" * 50), 0o600)


def test_a_path_that_another_has_taken_meanwhile_is_left(tmp_path: Path) -> None:
    path = tmp_path / "corral.sock"
    listener = UnixListener.at(path, 0o600)
    path.rename(tmp_path / "old")
    with UnixListener.at(path, 0o600) as other:
        listener.close()
        assert path.exists()
        assert other.unix_path == str(path)
    assert not path.exists()


def test_a_listener_with_both_has_an_address(tmp_path: Path) -> None:
    with Listener.bind("127.0.0.1", 0) as inet, UnixListener.at(tmp_path / "s", 0o600) as unix:
        both = Listener([*unix.sockets, *inet.sockets])
        assert both.unix_path is None
        assert both.getsockname() == inet.getsockname()
        with pytest.raises(ValueError, match="unix sockets alone"):
            unix.getsockname()
