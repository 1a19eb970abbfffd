from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.gguf.info import read_gguf_info
from models.paths import Paths
from server.cli.program import main
from tests.rpc_library import sharing, split_environment

LEAST = 10 << 20
"""Of larger tensors llama.cpp's client sends the digest first."""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bind", "0.0.0.0:50052"], "say --network-is-private"),
        (["--bind", "10.0.0.1:50052"], "neither encryption nor passwords"),
        (["--bind", "[::1]:50052"], "IPv6"),
        (["--bind", "127.0.0.1"], "HOST:PORT"),
        (["--threads", "0"], "--threads"),
        (["--threads", "513"], "--threads"),
        (["--device", " ,"], "--device names no device"),
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


@pytest.mark.model
def test_large_tensors_are_kept_on_the_disk_if_asked_for(tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "wide.gguf", TinyModel(n_layer=1, n_embd=1024, n_ff=4096))
    large = [
        one.nbytes for one in read_gguf_info(model).tensors if ".ffn_" in one.name and one.nbytes > LEAST
    ]
    assert large
    code = (
        "import sys\nfrom models.llamacpp import rpc\nfrom models.llamacpp.model import Model\n"
        "from models.llamacpp.remote_layers import RemoteLayers\n"
        "remote = RemoteLayers(rpc.connect([sys.argv[2]]), [1])\n"
        "Model.load(sys.argv[1], n_gpu_layers=99, remote=remote).close()\n"
    )
    with sharing(tmp_path, None, "--cache") as share:
        command = [sys.executable, "-c", code, str(model), share.address]
        for _ in range(2):  # the second one sends digests
            subprocess.run(command, check=True, env=split_environment(tmp_path), timeout=60)
    kept = Paths.from_environment(split_environment(tmp_path)).rpc_cache_dir
    assert sorted(path.stat().st_size for path in kept.iterdir()) == sorted(large)
