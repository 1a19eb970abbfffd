"""`Share`: serves this machine's devices to a Corral elsewhere, by a process that it starts again.

llama.cpp's server believes all that it is sent: nine bytes end it. So it has a process of its own, and this
one waits for its end, says why it ended, and starts it again.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from models.errors import ConfigError, RpcServerError, WorkerError
from models.machine.child_process import module_command
from models.machine.fit import format_bytes
from models.rpc.address import ServerAddress
from models.rpc.probe import PROTOCOL, probe
from server.cluster.sharing.messages import EXIT_REFUSED, ShareEvent, ShareJob
from server.supervisor.process.exit_report import ExitReport

logger = logging.getLogger("corral.share")

FIRST_DELAY_S, MAX_DELAY_S = 0.5, 10.0
"""The first restart waits so long; each further one doubles it, up to the second."""
STABLE_S = 60.0
"""A process that lived for so long has the first delay again."""
STDERR_LINES = 40
TRIES, TRY_S = 20, 0.5
"""The process is asked so often whether it listens, and has so long to answer."""


class Share:
    """One served address. `run` and `stop` belong to one thread, in which signals may raise."""

    def __init__(self, job: ShareJob, sleep: Callable[[float], None] = time.sleep) -> None:
        self._job = job
        self._sleep = sleep
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Serve for ever. Raises WorkerError where it can't begin."""
        delay_s = FIRST_DELAY_S
        _require_free(self._job.address)
        while True:
            began_s = time.monotonic()
            report = self._run_once()
            lived_s = time.monotonic() - began_s
            delay_s = FIRST_DELAY_S if lived_s >= STABLE_S else delay_s
            logger.warning(
                "the server ended after %.0f s (%s); starting it again in %.1f s",
                lived_s,
                report.how,
                delay_s,
            )
            self._sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_DELAY_S)

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()

    def _run_once(self) -> ExitReport:
        """Run the process to its end. Raises WorkerError if it refuses to serve."""
        command = [*module_command("server.cluster.sharing.process"), msgspec.json.encode(self._job).decode()]
        pipe = subprocess.PIPE
        process = self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        assert process.stdout is not None
        tail: deque[str] = deque(maxlen=STDERR_LINES)
        reader = threading.Thread(target=_read_stderr, args=(process, tail), daemon=True)
        reader.start()
        refusal = ""
        for line in process.stdout:
            refusal = self._take(line) or refusal
        code = process.wait()
        reader.join(timeout=1.0)
        self.stop()
        if code == EXIT_REFUSED:
            raise WorkerError(refusal or f"the process refuses to serve {self._job.address}")
        return ExitReport(code, tuple(tail))

    def _take(self, line: bytes) -> str:
        """Log what the process says; return why it refuses, if it does."""
        if not line.startswith(b"{"):  # llama.cpp's own words
            logger.debug("%s", line.decode("utf-8", "replace").rstrip())
            return ""
        event = msgspec.json.decode(line, type=ShareEvent)
        match event.kind:
            case "starting":
                threading.Thread(target=self._announce, args=(event,), daemon=True).start()
            case "connected":
                logger.info("%s connected", event.peer, extra={"fields": {"peer": event.peer}})
            case "left":
                logger.info(
                    *("%s left after %.1f s", event.peer, event.seconds),
                    extra={"fields": {"peer": event.peer, "seconds": event.seconds}},
                )
            case "refused":
                return event.message
        return ""

    def _announce(self, event: ShareEvent) -> None:
        """Say what is served once it listens, as a client sees it."""
        address = ServerAddress.parse(self._job.address)
        if address.host == "0.0.0.0":  # noqa: S104 - what is bound, not what binds
            address = ServerAddress("127.0.0.1", address.port)
        process = self._process
        for _ in range(TRIES):
            if process is None or process.poll() is not None:
                return
            try:
                probe(address, TRY_S)
                break
            except RpcServerError as error:
                logger.debug("%s", error.message)
                time.sleep(0.1)
        version = ".".join(map(str, PROTOCOL))
        devices = ", ".join(
            f"{one.name} ({one.description}, {format_bytes(one.memory_bytes)})" for one in event.devices
        )
        fields = {
            "address": self._job.address,
            "protocol": version,
            "devices": [msgspec.to_builtins(one) for one in event.devices],
        }
        logger.info(
            "serving %s at %s, protocol %s", devices, self._job.address, version, extra={"fields": fields}
        )


def numeric(address: ServerAddress) -> str:
    """Return the address with the host in numbers, as llama.cpp listens at it. Raises ConfigError."""
    try:
        return f"{socket.gethostbyname(address.host)}:{address.port}"
    except OSError:
        raise ConfigError(f"{address.host} has no IPv4 address here; give --bind one in numbers") from None


def _require_free(address: str) -> None:
    """Raise WorkerError for an address that can't be listened at."""
    host, _, port = address.rpartition(":")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, int(port)))
        except OSError as error:
            raise WorkerError(
                f"{address} can't be listened at: {error.strerror}; choose another with --bind"
            ) from None


def _read_stderr(process: subprocess.Popen[bytes], tail: deque[str]) -> None:
    assert process.stderr is not None
    with suppress(OSError, ValueError):  # closed meanwhile
        for line in process.stderr:
            text = line.decode("utf-8", "replace").rstrip()
            tail.append(text)
            logger.debug("%s", text)
