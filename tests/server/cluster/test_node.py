"""This machine's part of a cluster: its secret, its addresses, and a process that stands for Ray's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from models.errors import ConfigError, CorralError
from server.cluster import node as node_module
from server.cluster.addresses import address_towards, checked_node_ip
from server.cluster.node import (
    ClusterNode,
    NodeRecord,
    secret_in,
    temporary_folder,
)


@pytest.fixture
def node(tmp_path: Path) -> ClusterNode:
    return ClusterNode(tmp_path / "cluster")


def test_a_secret_is_made_once_for_its_owner_alone(node: ClusterNode) -> None:
    node.make_token()
    text = node.token_file.read_text()
    assert len(text) == 64
    assert node.token_file.stat().st_mode & 0o777 == 0o600
    node.make_token()
    assert node.token_file.read_text() == text


def test_a_secret_is_taken_over(node: ClusterNode, tmp_path: Path) -> None:
    copy, secret = tmp_path / "copy", "a0" * 32
    copy.write_text(f"{secret}\n")
    with pytest.raises(ConfigError, match="chmod 600"):
        secret_in(copy)
    copy.chmod(0o600)
    for _ in range(2):
        node.take_token(secret_in(copy))
        assert node.token_file.stat().st_mode & 0o777 == 0o600
    assert secret_in(node.token_file) == secret
    with pytest.raises(ConfigError, match="can't read the token file"):
        secret_in(tmp_path / "gone")
    for wrong in (" ", "abc", "two words of which both together are long", "x" * 1000):
        copy.write_text(wrong)
        with pytest.raises(ConfigError, match="is no token file of a cluster"):
            secret_in(copy)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("corral.example", "is no IP address"),
        ("0.0.0.0", "all of this machine's addresses"),  # noqa: S104 - it is refused
        ("::", "all of this machine's addresses"),
        ("93.184.216.34", "an address of the open internet"),
        ("10.255.254.253", "doesn't have the address"),
    ],
)
def test_addresses_that_are_refused(host: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        checked_node_ip(host)


def test_an_address_of_the_internet_may_be_private() -> None:
    with pytest.raises(ConfigError, match="doesn't have the address"):
        checked_node_ip("93.184.216.34", network_is_private=True)
    assert checked_node_ip("127.0.0.1") == "127.0.0.1"


def test_the_address_towards_the_head() -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        assert address_towards(f"127.0.0.1:{port}") == "127.0.0.1"
    with pytest.raises(CorralError, match=r"nothing answers at 127.0.0.1:\d+ .*corral cluster up"):
        address_towards(f"127.0.0.1:{port}")


def test_the_temporary_folder_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    folder = temporary_folder(tmp_path)
    outer = folder.parent
    assert outer.parent == tmp_path
    assert outer.stat().st_mode & 0o777 == 0o700
    folder.mkdir()
    folder.chmod(0o777)  # as Ray does with what it is told
    assert temporary_folder(tmp_path) == folder
    outer.chmod(0o777)
    with pytest.raises(ConfigError, match="isn't this user's alone"):
        temporary_folder(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", "/short")
    assert temporary_folder(tmp_path) == Path("/short")


def write(node: ClusterNode, record: NodeRecord) -> None:
    (node.folder / "node.json").write_bytes(msgspec.json.encode(record))


def test_a_record_is_of_a_process_that_runs(node: ClusterNode) -> None:
    assert node.record() is None
    node.folder.mkdir()
    (node.folder / "node.json").write_text("{")
    assert node.record() is None
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, start_new_session=True) as child:
        record = NodeRecord(
            address="10.0.0.1:6379",
            node_ip="10.0.0.1",
            is_head=True,
            pid=child.pid,
            started_s=psutil.Process(child.pid).create_time(),
        )
        write(node, record)
        assert node.record() == record
        write(node, msgspec.structs.replace(record, started_s=1.0))
        assert node.record() is None
        write(node, record)
        with pytest.raises(ConfigError, match=r"the head of the cluster at 10\.0\.0\.1:6379 already"):
            node.start("10.0.0.1:6379", "10.0.0.1", is_head=True, say=lambda _: None)
        node.stop(5.0)
        assert not psutil.pid_exists(child.pid)
    assert node.record() is None


RAYS = """
import os, sys, time
print(os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN_PATH"], *sys.argv[1:], flush=True)
{end}
"""


def stand_in(folder: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `python -m ray.scripts.scripts` be a script of ours."""
    package = folder / "ray" / "scripts"
    package.mkdir(parents=True)
    (folder / "ray" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "scripts.py").write_text(RAYS.format(end=end))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))


def test_ray_is_started_with_all_that_it_needs(
    node: ClusterNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "print('Ray runtime started.', flush=True)\ntime.sleep(60)", monkeypatch)
    node.make_token()
    record = node.start("10.0.0.1:7000", "10.0.0.2", is_head=False, say=lambda _: None)
    try:
        assert node.record() == record
        told = node.log_file.read_text()
        assert told.startswith(f"token {node.token_file} start --block")
        for part in ("--node-ip-address=10.0.0.2", "--address=10.0.0.1:7000", "--node-manager-port=7001"):
            assert part in told
        assert "--head" not in told
    finally:
        node.stop(5.0)
    assert node.record() is None


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("print('no room for it'); sys.exit(3)", "Ray ended with the status 3: .*no room for it"),
        ("print('InvalidAuthToken: Unauthenticated'); sys.exit(1)", "the cluster has another token"),
    ],
)
def test_ray_that_does_not_start(
    end: str, words: str, node: ClusterNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, end, monkeypatch)
    node.make_token()
    with pytest.raises(CorralError, match=words):
        node.start("10.0.0.1:7000", "10.0.0.1", is_head=True, say=lambda _: None)
    assert node.record() is None


def test_a_port_without_room_for_those_behind_it(node: ClusterNode) -> None:
    with pytest.raises(ConfigError, match="up to 65529"):
        node.start("10.0.0.1:65530", "10.0.0.1", is_head=True, say=lambda _: None)


def test_a_start_that_was_too_slow_is_tried_again(
    node: ClusterNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, lines = tmp_path / "mark", list[str]()
    slow = f"open({str(mark)!r}, 'x'); sys.exit('The node timed out during startup')"
    end = (
        f"if os.path.exists({str(mark)!r}): print('Ray runtime started.', flush=True); time.sleep(60)\n{slow}"
    )
    stand_in(tmp_path, end, monkeypatch)
    node.make_token()
    node.start("10.0.0.1:7000", "10.0.0.1", is_head=True, say=lines.append)
    node.stop(5.0)
    assert len(lines) == 2
    assert "once more" in lines[1]


def test_a_part_of_ray_that_gives_up_is_noticed(
    node: ClusterNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, raylet, lines = tmp_path / "mark", tmp_path / "raylet", list[str]()
    raylet.symlink_to(shutil.which("sleep") or "sleep")
    end = f"""
import subprocess
if os.path.exists({str(mark)!r}):
    print('Ray runtime started.', flush=True)
open({str(mark)!r}, 'w')
subprocess.Popen([{str(raylet)!r}, '1'])
time.sleep(60)
"""
    stand_in(tmp_path, end, monkeypatch)
    monkeypatch.setattr(node_module, "_LOOK_S", 0.1)
    node.make_token()
    node.start("10.0.0.1:7000", "10.0.0.1", is_head=True, say=lines.append)
    node.stop(5.0)
    assert lines[1:] == ["a part of Ray has ended while Ray was started; once more"]


def test_ray_that_hangs_is_ended(node: ClusterNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "time.sleep(60)", monkeypatch)
    monkeypatch.setattr(node_module, "START_TIMEOUT_S", 0.5)
    node.make_token()
    with pytest.raises(CorralError, match="hasn't started within"):
        node.start("10.0.0.1:7000", "10.0.0.1", is_head=True, say=lambda _: None)
    children = psutil.Process().children()
    assert not any("ray.scripts.scripts" in child.cmdline() for child in children if child.is_running())
