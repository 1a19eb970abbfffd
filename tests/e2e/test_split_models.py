"""A model over two `corral cluster share`s on loopback: its tokens, and what their deaths do to answers."""

from __future__ import annotations

import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import RpcServerError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from models.rpc.address import ServerAddress
from models.rpc.probe import probe
from tests.e2e.running import RunningServer, serving
from tests.rpc_library import Sharing, sharing, split_environment

pytestmark = [pytest.mark.e2e, pytest.mark.model]

N_TOKENS = 400
PROMPT = "Once upon a time"
ARGUMENTS = (
    *("--parallel", "2", "--ctx", "1024", "--prefix-cache-gib", "0"),
    *("--type-k", "f32", "--type-v", "f32"),
)
"""Keys and values stay F32: what a batch rounds otherwise than single tokens do stays in the last bits
then, and no token hangs on it.
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pico model in F32: its tokens are the same on any machine."""
    return write_tiny_gguf(
        tmp_path_factory.mktemp("split") / "pico.gguf", TinyModel(n_layer=3, n_ctx_train=1024)
    )


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Sharing]]:
    home = tmp_path_factory.mktemp("shares")
    with sharing(home) as first, sharing(home) as second:
        yield [first, second]


@pytest.fixture(scope="module")
def split(
    model: Path, shares: list[Sharing], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    servers = ",".join(share.address for share in shares)
    env = split_environment(home)
    with serving(str(model), *ARGUMENTS, "--split", servers, env=env, log=home / "log") as server:
        yield server


def answer(server: RunningServer) -> str:
    """Return a greedy answer of `N_TOKENS` tokens. Fails for anything else."""
    body = {"prompt": PROMPT, "max_tokens": N_TOKENS, "ignore_eos": True, "temperature": 0}
    reply = httpx.post(f"{server.url}/v1/completions", json=body, timeout=120)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    assert found["usage"]["completion_tokens"] == N_TOKENS
    text: str = found["choices"][0]["text"]
    return text


def _context(loaded: Model) -> Context:
    return Context(loaded, n_ctx=1024, n_batch=64, n_threads=1, type_k="f32", type_v="f32")


@pytest.fixture(scope="module")
def text(model: Path) -> str:
    """The answer of the same model on this machine alone."""
    with Model.load(model) as loaded, _context(loaded) as context:
        prompt = loaded.vocab.tokenize(PROMPT, add_special=True, parse_special=True)
        batch, pieces, tokens, position = TokenBatch(64), b"", list(prompt), 0
        never = list(loaded.vocab.eog_tokens)
        for _ in range(N_TOKENS):
            batch.clear()
            batch.add_many(tokens, position, 0, output_last=True)
            context.decode(batch)
            row = context.logits()[0].copy()
            row[never] = -float("inf")
            position += len(tokens)
            tokens = [int(row.argmax())]
            pieces += loaded.vocab.piece(tokens[0])
        return pieces.decode("utf-8", "replace")


def test_its_tokens_are_those_of_the_model_on_one_machine(
    split: RunningServer, text: str, shares: list[Sharing]
) -> None:
    assert answer(split) == text
    for share in shares:
        share.await_line("127.0.0.1:[0-9]+ connected")
        assert str(share.address) in split.log.read_text()


def test_a_server_that_is_killed_and_comes_back_costs_an_answer_a_pause(
    split: RunningServer, text: str, shares: list[Sharing]
) -> None:
    got: list[str] = []
    asker = threading.Thread(target=lambda: got.append(answer(split)), daemon=True)
    asker.start()
    time.sleep(0.3)
    shares[1].server.kill()
    shares[1].await_line(r"the server ended after .*\(SIGKILL")
    began_s = time.monotonic()
    asker.join(60)
    assert got == [text]
    print(f"served again after {time.monotonic() - began_s:.1f} s")
    log = split.log.read_text()
    assert "trying once more with" not in log, "nothing of this machine's build is to blame"
    assert f"layers are computed at {shares[0].address}, {shares[1].address}" in log


def test_another_client_is_told_that_the_server_is_busy(split: RunningServer, shares: list[Sharing]) -> None:
    answer(split)
    with pytest.raises(RpcServerError, match="another client has it"):
        probe(ServerAddress.parse(shares[0].address))
    answer(split)


@pytest.mark.thorough
def test_while_a_server_is_away_requests_are_told_when_to_come_back(
    model: Path, text: str, tmp_path: Path
) -> None:
    with ExitStack() as shared:
        share = shared.enter_context(sharing(tmp_path))
        arguments = (str(model), *ARGUMENTS, "--split", share.address)
        with serving(*arguments, env=split_environment(tmp_path), log=tmp_path / "log") as running:
            url, body = f"{running.url}/v1/completions", {"prompt": "Once", "max_tokens": 2}
            shared.close()
            with pytest.raises(httpx.ReadTimeout):  # its worker finds out, and it waits for the next one
                httpx.post(url, json=body, timeout=4)
            reply = httpx.post(url, json=body, timeout=60)
            assert reply.status_code == 503
            assert int(reply.headers["retry-after"]) == 2
            assert reply.json()["error"]["code"] == "rpc_server"
            assert "can't be reached: Connection refused" in reply.text
            with sharing(tmp_path, int(share.address.rpartition(":")[2])):
                end_s = time.monotonic() + 20
                while httpx.post(url, json=body, timeout=60).status_code != 200:
                    assert time.monotonic() < end_s
                    time.sleep(0.1)
                assert answer(running) == text


def test_nine_bytes_end_a_server_and_it_is_there_again(tmp_path: Path) -> None:
    with sharing(tmp_path) as share:
        address = ServerAddress.parse(share.address)
        with socket.create_connection((address.host, address.port)) as sock:
            sock.sendall(struct.pack("<BQ", 14, 24) + bytes(24))
            time.sleep(0.2)
            sock.sendall(struct.pack("<BQ", 6, 1 << 63))
            share.await_line("length_error.*starting it again")
        share.log.write_text("")
        share.await_line("serving CPU")
        assert probe(address).memory_bytes[0] > 0


@pytest.mark.thorough
def test_a_server_that_is_stopped_ends_the_worker_and_the_answer_goes_on(
    split: RunningServer, text: str, shares: list[Sharing]
) -> None:
    answer(split)
    got: list[str] = []
    asker = threading.Thread(target=lambda: got.append(answer(split)), daemon=True)
    asker.start()
    time.sleep(0.2)
    stopped = shares[0].server
    stopped.send_signal(signal.SIGSTOP)
    try:
        end_s = time.monotonic() + 40
        while "takes the connection and doesn't answer" not in split.log.read_text():
            assert time.monotonic() < end_s, split.log.read_text()[-3000:]
            time.sleep(0.2)
    finally:
        stopped.send_signal(signal.SIGCONT)
    asker.join(60)
    assert got == [text]
