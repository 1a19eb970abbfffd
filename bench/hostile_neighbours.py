"""The gaps of a stream while others send hostile schemas and grammars to a running server.

    python -m bench.hostile_neighbours URL [--n 500] [--halves 8] [--clients 2]

Halves alternate: in every second one, clients post hostile forms to the chat of a running server without a
pause. All the while one neighbour streams free text. Printed are the statuses, and the 99th percentile of the
neighbour's gaps with and without; the ratio is the median over neighbouring halves.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from server.ipc.constraint import Constraint
from tests.hostile_grammars import hostile_constraints

MAX_TOKENS = 64
"""A hostile form that compiles is followed for so many tokens."""
NEIGHBOUR_TOKENS = 400
"""One answer of the neighbour, who asks again at its end."""
_FIELDS = {
    "json_schema": "json_schema",
    "regex": "regex",
    "choice": "choice",
    "lark": "lark",
    "gbnf": "grammar",
}


@dataclass
class Outcome:
    """The statuses of hostile requests, each error once, and the neighbour's gaps in seconds, by half."""

    statuses: Counter[int] = field(default_factory=Counter)
    unclear: list[str] = field(default_factory=list)
    quiet: list[list[float]] = field(default_factory=list)
    loud: list[list[float]] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The gaps' 99th percentile with hostile requests to that without."""
        pairs = zip(self.loud, self.quiet, strict=False)
        return statistics.median(percentile(loud) / percentile(quiet) for loud, quiet in pairs)


def percentile(gaps: list[float], share: float = 0.99) -> float:
    """Return the gap that `share` of all don't exceed."""
    if not gaps:
        return math.nan
    return sorted(gaps)[min(len(gaps) - 1, int(share * len(gaps)))]


def body(constraint: Constraint) -> bytes:
    """Return the chat that asks for a form."""
    text = constraint.text
    value = text if constraint.kind in ("json_schema", "choice") else json.dumps(text)
    head = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": MAX_TOKENS})
    return f'{head[:-1]}, "{_FIELDS[constraint.kind]}": {value}}}'.encode()


def post(url: str, content: bytes) -> tuple[int, bytes]:
    """Send a chat; return the status and the answer, also if that came before all was read."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", "/v1/chat/completions", content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def post_hostile(url: str, constraint: Constraint, outcome: Outcome) -> None:
    """Send one form; a refusal must name the field, and a failure on the way its reason."""
    try:
        status, answer = await asyncio.to_thread(post, url, body(constraint))
    except OSError as error:
        outcome.unclear.append(f"{error!r} {constraint.text[:200]}")
        return
    outcome.statuses[status] += 1
    if status == 200:
        return
    error_body: dict[str, Any] = json.loads(answer).get("error", {})
    message = error_body.get("message", "")
    named = error_body.get("param") or status == 413 or "the request's body" in message
    if status not in (400, 413) or not message or not named:
        outcome.unclear.append(f"{status} {answer[:300]!r} {constraint.text[:200]}")


async def neighbour(client: httpx.AsyncClient, url: str) -> AsyncIterator[float]:
    """Yield the time of each chunk of a stream, for ever."""
    question = {
        "messages": [{"role": "user", "content": "Tell me of the sea."}],
        "stream": True,
        "ignore_eos": True,
        "max_tokens": NEIGHBOUR_TOKENS,
    }
    while True:
        async with client.stream("POST", f"{url}/v1/chat/completions", json=question) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    yield time.perf_counter()
            yield 0.0  # the wait for the next answer isn't a gap of a stream


async def measure(
    url: str, n: int, halves: int, clients: int, seed: int = 5, quiet_s: float = 10.0
) -> Outcome:
    """Post `n` hostile forms, a share in each loud half, and take the neighbour's gaps all the while."""
    outcome = Outcome()
    gaps: list[float] = []
    waiting = iter(hostile_constraints(n, seed))

    async def watch() -> None:
        last = 0.0
        async with httpx.AsyncClient(timeout=600) as client:
            async for now in neighbour(client, url):
                if last and now:
                    gaps.append(now - last)
                last = now

    async def send(share: list[Constraint]) -> None:
        while share:
            await post_hostile(url, share.pop(), outcome)

    watching = asyncio.create_task(watch())
    for half in range(halves):
        begun, n_before = time.perf_counter(), len(gaps)
        if half % 2:
            share = list(itertools.islice(waiting, -(-n // (halves // 2))))
            await asyncio.gather(*(send(share) for _ in range(clients)))
        else:
            await asyncio.sleep(quiet_s)
        if watching.done():
            watching.result()
        kept = gaps[n_before:]
        (outcome.loud if half % 2 else outcome.quiet).append(kept)
        name, took_s = "hostile" if half % 2 else "quiet", time.perf_counter() - begun
        print(f"{name}: {took_s:.1f} s, {len(kept)} gaps, p99 {1e3 * percentile(kept):.1f} ms", flush=True)
    watching.cancel()
    return outcome


def main(argv: list[str] | None = None) -> int:
    """Print the halves and the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--halves", type=int, default=8)
    parser.add_argument("--clients", type=int, default=2)
    options = parser.parse_args(argv)
    outcome = asyncio.run(measure(options.url, options.n, options.halves, options.clients))
    print(f"statuses {dict(outcome.statuses)}; p99 with to without hostile requests {outcome.ratio:.2f}")
    for line in outcome.unclear[:20]:
        print(line)
    return 1 if outcome.unclear else 0


if __name__ == "__main__":
    sys.exit(main())
