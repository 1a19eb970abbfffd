"""The RPC back end where it is missing, and where a server takes the connection and says nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import LlamaCppError
from models.llamacpp import rpc
from server.supervisor.process.exit_report import ExitReport
from tests.rpc_library import rpc_library

pytestmark = pytest.mark.model


def run(code: str, library: Path) -> subprocess.CompletedProcess[str]:
    """Run the code in a process of its own, as the library stays loaded."""
    return subprocess.run(
        [sys.executable, "-c", f"from models.llamacpp import rpc\n{code}"],
        env={**os.environ, rpc.LIBRARY_VARIABLE: str(library)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_silent_server_ends_the_process_with_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        done = run(f"rpc.CONNECT_S = 0.2\nrpc.connect(['{address}'])", rpc_library())
    report = ExitReport(done.returncode, tuple(done.stderr.splitlines()), servers=(address,))
    assert report.is_remote
    assert f"{address} doesn't take the connection" in report.how
    assert report.signal_name == "SIGABRT"


def test_an_unknown_device_is_no_abort() -> None:
    done = run("rpc.serve('127.0.0.1:1', ['CUDA7'], 1, None)", rpc_library())
    assert done.returncode == 1
    assert "there is no device 'CUDA7'; this machine has " in done.stderr


def test_without_the_library_it_is_said_how_to_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rpc._handle.cache_clear()
    monkeypatch.setenv(rpc.LIBRARY_VARIABLE, str(tmp_path / "none.so"))
    with pytest.raises(LlamaCppError, match=r"isn't there \(.*none\.so\); run `make setup`"):
        rpc.require_library()
    (tmp_path / "none.so").write_bytes(rpc_library().read_bytes()[:5000])
    with pytest.raises(LlamaCppError, match="isn't whole"):
        rpc.require_library()
