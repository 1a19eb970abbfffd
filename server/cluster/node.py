"""`ClusterNode`: this machine's part of a cluster: its files, and the start and end of Ray here.

Ray is started by its own command, and not imported. All that it needs is said: the address of this machine,
token authentication and its file, a folder of its own, no dashboard, no Ray client server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import secrets
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from models.errors import ConfigError, CorralError
from models.paths import Paths
from server.cluster.addresses import joined_address, split_address
from server.cluster.sessions import remove_unused, session_folders

_PORTS = (
    "node-manager-port",
    "object-manager-port",
    "runtime-env-agent-port",
    "dashboard-agent-grpc-port",
    "dashboard-agent-listen-port",
    "metrics-export-port",
)
"""The ports behind the head's, on each machine. Those that Ray is to find it waits for 15 s, no longer."""
LAST_PORT = 65_535 - len(_PORTS)
"""The head's port is at most this one."""
INSTALL = "pip install 'corral[cluster]'"
START_TIMEOUT_S = 120.0
TOKEN_BYTES = 32
_TOKEN = re.compile(f"[!-~]{{{TOKEN_BYTES},512}}")
"""A secret that nobody guesses; Ray's own command makes others than ours."""
DRAIN_S = 30.0
"""The requests of a machine that leaves may finish within so many seconds; the head has none to leave to."""
HEAD_AWAY_S = 86_400
"""Machines and API processes go on for so many seconds without the head; Ray would end them after 60."""
OBJECT_STORE_BYTES = 128 << 20
"""Ray's store of objects, which Corral uses for nothing; Ray's default is a third of the memory."""
_STARTED = "Ray runtime started."
_TOO_SLOW = "timed out during startup"
_PARTS = frozenset({"raylet", "gcs_server"})
"""Ray's command starts these, and waits for them though they may have given up long before."""
_LOOK_S = 0.5
_PATIENCE = {"RAY_agent_register_timeout_ms": "90000", "RAY_raylet_start_wait_time_s": "90"}
"""Ray waits so long for its own processes; by default 15 s, too short for a busy machine and a cold disk."""
_START_TRIES = 5
_HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
}
"""A machine that is silent for five seconds is gone; by Ray's default it is after 47."""
_NOTHING_COUNTED = {
    "RAY_event_stats": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
}
"""Ray is to count no work of its own: nobody asks, and a replica would do so a hundred times a second."""


def require_ray() -> None:
    """Raise ConfigError where Ray isn't installed."""
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(f"a cluster needs Ray, which isn't installed here: {INSTALL}")


class _TooSlow(CorralError):
    """Ray hasn't waited long enough for itself, or a part of it hasn't."""


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about this machine's part of a cluster, as its file has them."""

    address: str
    """The head's address, `HOST:PORT`."""
    node_ip: str
    """The address by which the others reach this machine."""
    is_head: bool
    pid: int
    """The process that holds all of Ray's on this machine."""
    started_s: float
    """The time at which that process was started: another one may get its number."""


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """The files of a cluster below CORRAL_HOME, and the processes that they tell of."""

    folder: Path

    @classmethod
    def of(cls, paths: Paths) -> ClusterNode:
        """Return the node of this CORRAL_HOME."""
        return cls(paths.home / "cluster")

    @property
    def token_file(self) -> Path:
        """The file with the secret of the cluster: whoever has it runs code on all machines."""
        return self.folder / "token"

    @property
    def log_file(self) -> Path:
        """The output of Ray's own start."""
        return self.folder / "ray.log"

    def record(self) -> NodeRecord | None:
        """Return what is known of this machine's node if it runs, else None."""
        try:
            record = msgspec.json.decode((self.folder / "node.json").read_bytes(), type=NodeRecord)
        except (OSError, msgspec.MsgspecError):
            return None
        return record if _process(record) is not None else None

    def environment(self, *, is_head: bool = False) -> dict[str, str]:
        """Return the variables of all processes that are, or speak with, a cluster."""
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Serve would count its calls (there are none) ten times a second. And replicas are to tell
            # their loads also where scaling is switched on after they were started.
            "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "0",
            "RAY_SERVE_COLLECT_AUTOSCALING_METRICS_ON_HANDLE": "0",
            "RAY_worker_niceness": "0",  # it would be 15: replicas behind all else on their machine
            "RAY_START_HOOK": "server.cluster.node.without_client_server",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0" if is_head else f"{DRAIN_S:g}",
            "RAY_gcs_rpc_server_reconnect_timeout_s": f"{HEAD_AWAY_S}",
            **_HEALTH_CHECKS,
            **_PATIENCE,
            **_NOTHING_COUNTED,
        }

    def make_token(self) -> None:
        """Write a new secret unless there is one, for this user's eyes only."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.token_file.exists():
            check_private(self.token_file)
            return
        self._write_token(secrets.token_hex(TOKEN_BYTES))

    def take_token(self, secret: str) -> None:
        """Keep the secret of a cluster that this machine is to join."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write_token(secret)

    def require_absent(self) -> None:
        """Raise ConfigError if this machine is in a cluster."""
        if (running := self.record()) is not None:
            what = "the head" if running.is_head else "a machine"
            raise ConfigError(
                f"this machine is {what} of the cluster at {running.address} already; leave it first: corral"
                " cluster leave"
            )

    def start(self, address: str, node_ip: str, *, is_head: bool, say: Callable[[str], None]) -> NodeRecord:
        """Start Ray on this machine, as the head or as a further machine; return once it runs.

        Raises CorralError, with Ray's last words, if it doesn't start.
        """
        self.require_absent()
        host, port = split_address(address)
        if port > LAST_PORT:
            raise ConfigError(
                f"Ray takes the {len(_PORTS)} ports behind {port}, too; choose one up to {LAST_PORT}"
            )
        role = (
            ("--head", f"--port={port}", "--include-dashboard=false")
            if is_head
            else (f"--address={joined_address(host, port)}",)
        )
        command = [
            *(sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block", "--no-monitor"),
            *("--disable-usage-stats", "--include-log-monitor=false", f"--node-ip-address={node_ip}", *role),
            *(f"--{name}={port + 1 + n}" for n, name in enumerate(_PORTS)),
            *(f"--temp-dir={temporary_folder()}", f"--object-store-memory={OBJECT_STORE_BYTES}"),
        ]
        say(f"starting Ray at {node_ip}")
        for left in reversed(range(_START_TRIES)):
            try:
                process = self._started(command, is_head=is_head)
                break
            except _TooSlow as error:
                if not left:
                    raise
                say(f"{error.message}; once more")
        record = NodeRecord(
            address=joined_address(host, port),
            node_ip=node_ip,
            is_head=is_head,
            pid=process.pid,
            started_s=process.create_time(),
        )
        (self.folder / "node.json").write_bytes(msgspec.json.format(msgspec.json.encode(record)))
        return record

    def stop(self, grace_s: float) -> None:
        """End Ray on this machine: its replicas' requests may finish within `grace_s` seconds.

        The folder of its sockets and logs goes with it.
        """
        record = self.record()
        if record is not None:
            folders = session_folders(record.pid)
            _end_tree(record.pid, grace_s)
            remove_unused(folders)
        (self.folder / "node.json").unlink(missing_ok=True)

    def _write_token(self, text: str) -> None:
        partial = self.token_file.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        with open(partial, "w", encoding="ascii", opener=_private) as file:
            file.write(text)
        partial.replace(self.token_file)

    def _started(self, command: Sequence[str], *, is_head: bool) -> psutil.Process:
        """Start Ray's command in the background, and return its process once Ray runs."""
        with self.log_file.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment(is_head=is_head)},
                start_new_session=True,
            )
        try:
            self._wait_started(process)
            return psutil.Process(process.pid)
        except BaseException:
            _end_tree(process.pid, 10.0)
            raise
        finally:
            process.returncode = process.poll() or 0  # it outlives this process, which waits for it no more

    def _wait_started(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        seen: set[int] = set()
        look_s = 0.0
        while (now_s := time.monotonic()) < deadline:
            text = self.log_file.read_text(encoding="utf-8", errors="replace")
            if _STARTED in text:
                return
            if process.poll() is not None:
                if _TOO_SLOW in text:
                    raise _TooSlow("Ray has given up its start, as this machine has too much else to do")
                raise CorralError(_reason(text, f"Ray ended with the status {process.returncode}"))
            if now_s >= look_s:
                alive = _parts_of(process.pid)
                if seen - alive:
                    raise _TooSlow("a part of Ray has ended while Ray was started")
                seen, look_s = seen | alive, now_s + _LOOK_S
            time.sleep(0.1)
        raise CorralError(_reason(text, f"Ray hasn't started within {START_TIMEOUT_S:.0f} s"))


def without_client_server(params: Any, _is_head: bool) -> None:
    """Change how Ray starts on a machine, which calls this: without the server for drivers elsewhere."""
    params.ray_client_server_port = None


def secret_in(file: Path) -> str:
    """Return the secret in another machine's file. Raises ConfigError: others may read it, or it has none."""
    try:
        check_private(file)
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"can't read the token file {file}: {error}") from error
    if not _TOKEN.fullmatch(text):
        raise ConfigError(
            f"{file} is no token file of a cluster: one has a word of {2 * TOKEN_BYTES} characters; copy the"
            " head's file again"
        )
    return text


def check_private(file: Path) -> None:
    """Raise ConfigError for a secret's file that others than its owner may read."""
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise ConfigError(
            f"others may read the token file {file}, and whoever has the token runs code on all machines of"
            f" the cluster: chmod 600 {file}"
        )


def temporary_folder(parent: Path | None = None) -> Path:
    """Return a folder for Ray's sockets and logs, in one that is this user's alone; make that if need be.

    Ray opens the folder that it is told to everyone, so it is told one inside. Its path is short, as those of
    sockets have at most 107 bytes. Raises ConfigError if the outer one is another's.
    """
    named = os.environ.get("RAY_TMPDIR")
    if named:
        return Path(named)
    folder = (parent or Path(tempfile.gettempdir())) / f"corral-ray-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ConfigError(f"{folder} isn't this user's alone; remove it, or set RAY_TMPDIR to a short path")
    return folder / "r"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL, 0o600)


def _process(record: NodeRecord) -> psutil.Process | None:
    """Return the process of a record, unless it has ended."""
    try:
        process = psutil.Process(record.pid)
        is_same = abs(process.create_time() - record.started_s) < 2.0
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _end_tree(pid: int, grace_s: float) -> None:
    """Ask a process to end, and end what is left of it and its children after `grace_s` seconds."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        process.terminate()
    except psutil.Error:
        return
    with contextlib.suppress(psutil.TimeoutExpired):
        process.wait(grace_s)
    for one in family:
        with contextlib.suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(family, timeout=5.0)


def _parts_of(pid: int) -> set[int]:
    """Return those of Ray's parts that Ray's command has started, and that live."""
    found = set()
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.Error):
                if child.name() in _PARTS and child.status() != psutil.STATUS_ZOMBIE:
                    found.add(child.pid)
    return found


def _reason(text: str, fallback: str) -> str:
    """Return why Ray hasn't started, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any("Token" in line and ("nvalid" in line or "nauthenticated" in line) for line in lines):
        return "the cluster has another token than this one; copy the head's token file again"
    last = " … ".join(lines[-3:])
    return f"{fallback}: {last}" if last else fallback
