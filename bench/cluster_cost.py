"""Processor time in front of a worker: `python -m bench.cluster_cost URL MODEL PID …`.

The processes are those whose time counts: the API process, and the actors of its replicas (`ServeReplica` in
their command lines); no worker. Streams of one token are sent one after the other, then some of 400 tokens at
once. Printed are the milliseconds of each process per answer of one token, and per chunk of the long ones.
What they take while nothing is asked is printed first, and is in the others too: the slower a machine, the
more of it falls on an answer. It runs in the network namespace of the API process.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

IDLE_S = 5.0
"""The processes are watched for so long while nothing is asked."""
WARM_UP = 20
"""The number of answers that come before those that count: routers and connections are made then."""


def processor_s(pid: int) -> float:
    """Return the seconds of processor time, user and system, that a process has had. Raises OSError."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def chunks_of_answer(url: str, model: str, number: int, max_tokens: int) -> int:
    """Stream one answer; return the number of its events with text. Raises ValueError for an error in it."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
    body = {
        "model": model,
        "prompt": f"number {number}",
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "stream": True,
        "temperature": 0,
    }
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    with closing(connection), connection.getresponse() as response:
        if response.status != http.client.OK:
            raise ValueError(f"{response.status}: {response.read().decode(errors='replace')}")
        events = [json.loads(line[6:]) for line in response if line.startswith(b"data: {")]
    for event in events:
        if "error" in event:
            raise ValueError(event["error"]["message"])
    return sum(bool(choice["text"]) for event in events for choice in event["choices"])


def spent(pids: Sequence[int], do: Callable[[], int]) -> tuple[list[float], float, int]:
    """Return the processor seconds of each process while `do` runs, the seconds it took, what it returned."""
    before, begun_s = [processor_s(pid) for pid in pids], time.perf_counter()
    count = do()
    took_s = time.perf_counter() - begun_s
    return [processor_s(pid) - was for pid, was in zip(pids, before, strict=True)], took_s, count


def line_of(name: str, spent_s: Sequence[float], count: int) -> str:
    """Return a line: the milliseconds of each process for one of `count`, and their sum."""
    each = " + ".join(f"{1e3 * seconds / count:.2f}" for seconds in spent_s)
    return f"{name}: {1e3 * sum(spent_s) / count:.2f} ms ({each})"


def main() -> None:
    """Measure, and print a line for each kind of answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("pids", metavar="PID", type=int, nargs="+")
    parser.add_argument("--short", type=int, default=500, help="the number of answers of one token")
    parser.add_argument("--long", type=int, default=48, help="the number of answers of 400 tokens")
    parser.add_argument("--at-once", type=int, default=12, help="so many of the long ones are asked at once")
    options = parser.parse_args()

    def ask(count: int, max_tokens: int, at_once: int = 1) -> int:
        with ThreadPoolExecutor(at_once) as threads:
            ask_one = partial(chunks_of_answer, options.url, options.model, max_tokens=max_tokens)
            return sum(threads.map(ask_one, range(count)))

    def wait() -> int:
        time.sleep(IDLE_S)
        return 0

    ask(WARM_UP, 1)
    idle_s, took_s, _ = spent(options.pids, wait)
    print(f"nothing asked: {1e3 * sum(idle_s) / took_s:.0f} ms per second")
    short_s, took_s, _ = spent(options.pids, lambda: ask(options.short, 1))
    print(
        line_of("an answer of one token", short_s, options.short), f"in {1e3 * took_s / options.short:.0f} ms"
    )
    long_s, took_s, n_chunks = spent(options.pids, lambda: ask(options.long, 400, options.at_once))
    print(line_of("a chunk of 400 tokens", long_s, n_chunks), f"in {1e3 * took_s / n_chunks:.1f} ms")


if __name__ == "__main__":
    main()
