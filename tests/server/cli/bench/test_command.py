from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.server.cli.conftest import Corral, corral_command
from tests.server.loadtest.scripted_server import Piece, Received, openai, plain, serving

SMALL = ("--requests", "4", "--output-tokens", "3", "--warmup", "1")


def test_a_table_of_any_openai_server(corral: Corral) -> None:
    with serving(openai(pause_s=0.002)) as server:
        done = corral("bench", "--url", server.url, "--concurrency", "1,2", *SMALL)
        most = server.most_at_once
        keys = {"authorization" in one.headers for one in server.received}
        kinds = {one.path for one in server.received}
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split()[:3] == ["load", "requests", "errors"]
    assert header.endswith("tok/s out  tok/s in")
    assert [row.split()[:4] for row in rows] == [["1", "at", "once", "4"], ["2", "at", "once", "4"]]
    assert "2 at once: 4 of 4 requests" in done.stderr
    assert most == 2
    assert keys == {False}
    assert kinds == {"/v1/models", "/v1/chat/completions"}


def test_json_plot_completions_and_a_key(corral: Corral, tmp_path: Path) -> None:
    drawing = tmp_path / "out.svg"
    with serving(openai()) as server:
        done = corral(
            *("bench", "--url", server.url, "--rate", "200", *SMALL, "--completions", "--model", "mine"),
            *(
                "--api-key",
                "secret",
                "--json",
                "--plot",
                str(drawing),
                "--seed",
                "5",
                "--prompt-tokens",
                "107",
            ),
        )
        received = server.received
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["model"], document["api"], document["seed"]) == ("mine", "completions", 5)
    (level,) = document["levels"]
    assert (level["rate"], level["concurrency"]) == (200.0, None)
    assert (level["n_requests"], level["n_errors"], level["tokens_out"], level["tokens_in"]) == (
        4,
        0,
        12,
        428,
    )
    assert level["first_token_s"]["p50"] > 0
    assert {one.path for one in received} == {"/v1/completions"}
    assert {one.headers["authorization"] for one in received} == {"Bearer secret"}
    text = drawing.read_text(encoding="utf-8")
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - our own file
    assert "@font-face" not in text
    assert "per\xa0second" in text or "per&#160;second" in text


def test_failed_requests_are_counted_and_make_the_exit_code(corral: Corral) -> None:
    n = iter(range(100))

    def script(request: Received) -> Iterator[Piece]:
        if next(n) == 6:  # the model list, two probes, a warm-up and two good requests went before
            yield plain("500 Oh", {"error": {"message": "it broke"}})
        else:
            yield from openai()(request)

    with serving(script) as server:
        done = corral("bench", "--url", server.url, "--concurrency", "1", *SMALL)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].split()[3:5] == ["4", "1"]
    assert done.stderr.splitlines()[-1] == (
        "corral: some requests failed and are left out of the figures; the first: HTTP 500: it broke"
    )


def test_nobody_there(corral: Corral) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = corral("bench", "--url", f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("corral: nothing answers at 127.0.0.1, port ")


def test_a_server_that_refuses(corral: Corral) -> None:
    with serving(lambda _: [plain("401 Unauthorized", {"error": {"message": "wrong key"}})]) as server:
        done = corral("bench", "--url", server.url, "--model", "m")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("refuses a request: HTTP 401: wrong key")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("demo", "--url", "http://127.0.0.1:1"),
        ("--url", "ftp://host"),
        ("--url", "http://127.0.0.1:1", "--concurrency", "0"),
        ("--url", "http://127.0.0.1:1", "--plot", "out.png"),
        ("--url", "http://127.0.0.1:1", "--plot", "no/such/folder/out.svg"),
        ("--url", "http://127.0.0.1:1", "--shared-prefix", "64"),
        ("--url", "http://127.0.0.1:1", "--requests", "0"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], corral: Corral) -> None:
    assert corral("bench", *arguments).returncode == 2


def test_an_interruption_shows_what_was_measured(env: Mapping[str, str]) -> None:
    with serving(openai(pause_s=0.02)) as server:
        command = ["bench", "--url", server.url, "--concurrency", "1", "--requests", "1000", "--json"]
        with subprocess.Popen(
            corral_command(*command, "--output-tokens", "3", "--warmup", "0"),
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while len(server.received) < 20:
                assert process.poll() is None
                time.sleep(0.01)  # the server is a thread of this process
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    (level,) = json.loads(out)["levels"]
    assert level["interrupted"]
    assert 0 < level["n_requests"] < 1000


@pytest.mark.model
def test_a_server_of_its_own(corral: Corral, tiny_gguf: Path) -> None:
    done = corral("bench", str(tiny_gguf), "--concurrency", "2", "--prompt-tokens", "16", *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    (level,) = json.loads(done.stdout)["levels"]
    assert (level["n_requests"], level["n_errors"], level["tokens_out"]) == (4, 0, 12)


@pytest.mark.model
def test_a_model_that_is_not_there(corral: Corral, tmp_path: Path) -> None:
    done = corral("bench", str(tmp_path / "none.gguf"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("corral: ")
