from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from server.cli.program import main
from tests.rpc_library import sharing


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bind", "0.0.0.0:50052"], "say --network-is-private"),
        (["--bind", "10.0.0.1:50052"], "neither encryption nor passwords"),
        (["--bind", "[::1]:50052"], "IPv6"),
        (["--bind", "127.0.0.1"], "HOST:PORT"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "share", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_an_address_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bind = f"127.0.0.1:{listener.getsockname()[1]}"
        assert main(["cluster", "share", "--bind", bind]) == 1
    assert f"{bind} can't be listened at: Address already in use; choose another" in capsys.readouterr().err


@pytest.mark.model
def test_log_lines_for_programs_name_devices_and_protocol(tmp_path: Path) -> None:
    with sharing(tmp_path, None, "--json", "--device", "CPU") as share:
        line = json.loads(share.await_line("serving CPU"))
    assert (line["logger"], line["address"], line["protocol"]) == ("corral.share", share.address, "7.0.0")
    [device] = line["devices"]
    assert device["name"] == "CPU"
    assert device["memory_bytes"] > 0
    assert json.loads(share.log.read_text().splitlines()[-1])["message"] == "ended"
