from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from scripts.environment import ROOT

MEASUREMENT = """
import sys
import threading
from pathlib import Path

from bench.servers import Server, running

with running(Server("plain", [sys.executable, "-m", "http.server", "{port}"], "/"), Path("log")) as server:
    print(server.pid, flush=True)
    threading.Event().wait()
"""


def test_a_sigterm_ends_the_servers_too(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASUREMENT]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, env=environment) as measurement:
        assert measurement.stdout is not None
        server = psutil.Process(int(measurement.stdout.readline()))
        try:
            measurement.send_signal(signal.SIGTERM)
            assert measurement.wait(timeout=60) == 128 + signal.SIGTERM
            assert not server.is_running()
        finally:
            measurement.kill()
            if server.is_running():
                server.kill()
