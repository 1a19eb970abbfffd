"""Texts per second beside llama-server's on the same file: interleaved, medians of ratios.

    python -m bench.embeddings --model ENCODER.gguf --llama-server BIN [--inputs 1 8 64 512 2048] [--rounds 5]
    python -m bench.embeddings --model ENCODER.gguf --chat-model LLAMA.gguf

The second form measures a chat's gaps, alone and beside a flood of requests for vectors, in turns.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import httpx
import psutil

from bench import servers
from bench.servers import Server, running
from server.loadtest.prompts import words

FLOOD_INPUTS = 256
"""A request of the flood has so many texts."""
FLOOD_CLIENTS = 2
CHAT_TOKENS = 150


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="vectors per second beside llama-server's")
    parser.add_argument(
        "--model", type=Path, required=True, help="GGUF of an encoder, which all servers load"
    )
    parser.add_argument("--corral", type=Path, default=servers.INSTALLED, help="the corral to measure")
    parser.add_argument("--llama-server", type=Path, help="llama-server binary")
    parser.add_argument("--chat-model", type=Path, help="GGUF that chats beside a flood of vectors")
    parser.add_argument("--inputs", type=int, nargs="+", default=[1, 8, 64, 512, 2048])
    parser.add_argument("--words", type=int, nargs=2, default=(4, 40), metavar=("LEAST", "MOST"))
    parser.add_argument("--format", choices=["float", "base64"], default="float")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--logs", type=Path, default=Path("bench-results/logs"), help="the servers' output")
    return parser.parse_args()


def corral_server(args: argparse.Namespace, *models: Path) -> Server:
    return Server(
        "corral",
        [
            *(str(args.corral), "serve", *map(str, models), "--port", "{port}"),
            *("--threads", str(args.threads)),
        ],
        "/ready",
    )


def peer(args: argparse.Namespace) -> Server:
    """Return llama-server with its usual settings for an encoder whose texts fit 512 tokens."""
    return Server(
        "llama-server",
        [
            *(str(args.llama_server), "-m", str(args.model), "--port", "{port}", "--embeddings"),
            *("-t", str(args.threads), "--no-webui"),
        ],
        "/health",
    )


def texts_of(n: int, rng: random.Random, lengths: Sequence[int]) -> list[str]:
    """Return texts of between the least and the most words, evenly by the logarithm."""
    least, most = (math.log(length) for length in lengths)
    return [words(round(math.exp(rng.uniform(least, most))), rng) for _ in range(n)]


def embed(client: httpx.Client, url: str, model: str, texts: Sequence[str], encoding: str) -> float:
    """Return the seconds that a request takes, read to its end."""
    body = json.dumps({"model": model, "input": texts, "encoding_format": encoding}).encode()
    start_s = time.perf_counter()
    response = client.post(f"{url}/v1/embeddings", content=body)
    seconds = time.perf_counter() - start_s
    response.raise_for_status()
    assert len(response.json()["data"]) == len(texts)
    return seconds


def compare(args: argparse.Namespace) -> None:
    """Print texts per second of both servers and the median of the rounds' ratios, by the number of texts."""
    rng = random.Random(args.seed)
    rivals = [corral_server(args, args.model), peer(args)]
    with (
        running(rivals[0], args.logs / "embeddings.corral.log") as ours,
        running(rivals[1], args.logs / "embeddings.llama-server.log") as theirs,
        httpx.Client(timeout=300) as client,
    ):
        for n in args.inputs:
            repeats = max(1, min(40, 256 // n))
            rates: dict[str, list[float]] = {"ours": [], "theirs": []}
            for number in range(args.rounds + 1):
                sets = [texts_of(n, rng, args.words) for _ in range(repeats)]
                order = [("ours", ours.url), ("theirs", theirs.url)]
                for name, url in order if number % 2 else reversed(order):
                    took = [embed(client, url, args.model.stem, texts, args.format) for texts in sets]
                    if number:
                        rates[name].append(n * repeats / sum(took))
            ratios = [a / b for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
            print(
                f"{n:5} texts: {statistics.median(rates['ours']):8.1f} texts/s,"
                f" llama-server {statistics.median(rates['theirs']):8.1f},"
                f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )


# --- a chat beside a flood ----------------------------------------------------------------------------------


def chat_gaps(client: httpx.Client, url: str, model: str, rng: random.Random) -> list[float]:
    """Return the milliseconds between the tokens of one streamed completion."""
    body = {
        "model": model,
        "prompt": words(30, rng),
        "max_tokens": CHAT_TOKENS,
        "stream": True,
        "ignore_eos": True,
    }
    times: list[float] = []
    with client.stream("POST", f"{url}/v1/completions", json=body) as response:
        response.raise_for_status()
        times.extend(time.perf_counter() for line in response.iter_lines() if line.startswith("data: {"))
    return [1e3 * (b - a) for a, b in pairwise(times)]


def flood(stop: threading.Event, url: str, model: str, seed: int, done: list[int]) -> None:
    """Send requests for vectors, one after another, until told to stop."""
    rng = random.Random(seed)
    with httpx.Client(timeout=600) as client:
        while not stop.is_set():
            embed(client, url, model, texts_of(FLOOD_INPUTS, rng, (4, 40)), "base64")
            done.append(FLOOD_INPUTS)


def compare_gaps(args: argparse.Namespace) -> None:
    """Print the 99th percentile of a chat's gaps alone and beside a flood, and the flood's rate."""
    rng = random.Random(args.seed)
    alone: list[float] = []
    beside: list[float] = []
    with (
        running(corral_server(args, args.model, args.chat_model), args.logs / "gaps.corral.log") as server,
        httpx.Client(timeout=600) as client,
    ):
        embed(client, server.url, args.model.stem, ["warm"], "base64")
        chat_gaps(client, server.url, args.chat_model.stem, rng)
        ratios, rates = [], []
        for number in range(args.rounds):
            alone = chat_gaps(client, server.url, args.chat_model.stem, rng)
            stop, done = threading.Event(), list[int]()
            clients = [
                threading.Thread(
                    target=flood, args=(stop, server.url, args.model.stem, number * 10 + i, done)
                )
                for i in range(FLOOD_CLIENTS)
            ]
            for one in clients:
                one.start()
            time.sleep(0.5)
            n_before, start_s = sum(done), time.perf_counter()
            beside = chat_gaps(client, server.url, args.chat_model.stem, rng)
            rates.append((sum(done) - n_before) / (time.perf_counter() - start_s))
            stop.set()
            for one in clients:
                one.join()
            ratios.append(p99(beside) / p99(alone))
            print(
                f"round {number}: p99 alone {p99(alone):.1f} ms, beside {p99(beside):.1f} ms,"
                f" median {statistics.median(alone):.1f} and {statistics.median(beside):.1f} ms,"
                f" {rates[-1]:.0f} texts/s meanwhile",
                flush=True,
            )
    print(f"median ratio of p99: {statistics.median(ratios):.2f}")


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


def main() -> int:
    args = parse()
    args.logs.mkdir(parents=True, exist_ok=True)
    if args.llama_server is not None:
        compare(args)
    if args.chat_model is not None:
        compare_gaps(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
