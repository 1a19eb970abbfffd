"""`python -m bench.split_models MODEL.gguf`: a model over two servers against the same on one machine.

Two network namespaces with a cable between them, for which root is needed: Corral in one, two `corral cluster
share` in the other. Streams of one client alternate between the split model, the same on this machine alone,
and that without Corral's matrix kernels and without repacked weights, as the servers compute. Counted are the
tokens per second that each server tells, and the bytes that crossed the cable for an answer's tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

CORRAL = str(Path(sys.executable).with_name("corral"))
HERE, THERE = "corral-bench-a", "corral-bench-b"
"""The namespaces of Corral, and of the machine with the servers."""
ADDRESS = "10.77.0"
PORTS = (50052, 50053)
SETTINGS = ("--parallel", "1", "--ctx", "2048", "--prefix-cache-gib", "0", "--speculate", "off")


def main() -> int:
    """Measure, and print one JSON object per round and one of medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.split_models", description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=1, help="threads of each process that computes")
    parser.add_argument("--rate", help="the cable's speed, as tc writes it: 100mbit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder, ExitStack() as stack:
        base = Path(folder)
        stack.enter_context(namespaces(options.rate))
        servers = [f"{ADDRESS}.2:{port}" for port in PORTS]
        threads = ("--threads", str(options.threads))
        for server in servers:
            share = [CORRAL, "cluster", "share", "--bind", server, "--network-is-private", *threads]
            stack.enter_context(running([*within(THERE), *share], base))
        plain = ("--kernels", "off", "--no-use-extra-bufts")
        split = ("--split", ",".join(servers), "--network-is-private")
        kinds = {"split": split, "local": (), "local as the servers compute": plain}
        clients: dict[str, httpx.Client] = {}
        loaded: dict[str, float] = {}
        for kind, arguments in kinds.items():
            socket = base / f"{len(clients)}.sock"
            serve = [CORRAL, "serve", str(options.model), "--socket", str(socket), *SETTINGS, *threads]
            before, began_s = crossed_bytes(), time.monotonic()
            stack.enter_context(running([*within(HERE), *serve, *arguments], base))
            clients[kind] = ready_client(socket)
            if kind == "split":
                loaded = {
                    "load_s": round(time.monotonic() - began_s, 1),
                    "load_bytes": crossed_bytes()[1] - before[1],
                }
        rounds = [one_round(clients, options.tokens) for _ in range(options.rounds)]
    for one in rounds:
        print(json.dumps(one))
    print(json.dumps({**loaded, **summary(rounds)}))
    return 0


def one_round(clients: dict[str, httpx.Client], n_tokens: int) -> dict[str, Any]:
    """Ask each server once; the same order each time."""
    found: dict[str, Any] = {}
    texts = {}
    for kind, client in clients.items():
        before = crossed_bytes()
        body = {"prompt": "The", "max_tokens": n_tokens, "temperature": 0, "ignore_eos": True}
        reply = client.post("http://corral/v1/completions", json=body).raise_for_status().json()
        after = crossed_bytes()
        texts[kind] = reply["choices"][0]["text"]
        found[kind] = round(reply["timings"]["predicted_per_second"], 2)
        if kind == "split":
            found["bytes back per token"] = round((after[0] - before[0]) / n_tokens)
            found["bytes out per token"] = round((after[1] - before[1]) / n_tokens)
    found["same text as the servers compute"] = texts["split"] == texts["local as the servers compute"]
    return found


def summary(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return medians, and medians of each round's ratios."""
    names = [name for name, value in rounds[0].items() if not isinstance(value, bool)]
    medians = {name: statistics.median(one[name] for one in rounds) for name in names}
    for other in ("local", "local as the servers compute"):
        medians[f"split / {other}"] = round(statistics.median(one["split"] / one[other] for one in rounds), 3)
    return medians


@contextmanager
def namespaces(rate: str | None) -> Iterator[None]:
    """Make both namespaces and the cable; remove them at the end."""
    try:
        for name in (HERE, THERE):
            command("ip", "netns", "add", name)
        command("ip", "link", "add", "cable", "netns", HERE, "type", "veth", "peer", "cable", "netns", THERE)
        for number, name in enumerate((HERE, THERE), 1):
            command(*within(name), "ip", "address", "add", f"{ADDRESS}.{number}/24", "dev", "cable")
            for device in ("lo", "cable"):
                command(*within(name), "ip", "link", "set", device, "up")
            if rate is not None:
                shape = ("root", "tbf", "rate", rate, "burst", "64kb", "latency", "50ms")
                command(*within(name), "tc", "qdisc", "add", "dev", "cable", *shape)
        yield
    finally:
        for name in (HERE, THERE):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def crossed_bytes() -> tuple[int, int]:
    """Return the bytes that have come over the cable to Corral, and gone to the servers."""
    done = subprocess.run([*within(HERE), "cat", "/proc/net/dev"], capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.strip().startswith("cable"))
    numbers = line.partition(":")[2].split()
    return int(numbers[0]), int(numbers[8])


def within(name: str) -> list[str]:
    """Return the beginning of a command that runs in a namespace."""
    return ["ip", "netns", "exec", name]


def command(*words: str) -> None:
    """Run a command to its end. Raises CalledProcessError."""
    subprocess.run(words, check=True)


@contextmanager
def running(words: Sequence[str], folder: Path) -> Iterator[None]:
    """Run a program in the background, with a home of its own; end it afterwards."""
    environ = {**os.environ, "CORRAL_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    with (folder / f"log-{time.monotonic_ns()}").open("wb") as log:
        process = subprocess.Popen(words, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield
        except BaseException:
            print(Path(log.name).read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(timeout=30)


def ready_client(socket: Path) -> httpx.Client:
    """Return a client of the server at this unix socket once that is ready. Raises TimeoutError."""
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), timeout=600)
    end_s = time.monotonic() + 240
    while time.monotonic() < end_s:
        try:
            if client.get("http://corral/ready").status_code == 200:
                return client
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"the server at {socket} isn't ready")


if __name__ == "__main__":
    sys.exit(main())
