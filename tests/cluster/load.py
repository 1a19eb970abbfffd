"""`python -m tests.cluster.load URL`: streams of completions over raw sockets, and what came of them.

The last line of its output is a JSON object: `texts` by the requests' numbers, `errors`, the longest `pause`
between two pieces of text in seconds, `cached` and `prompt` tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "group",
    "country",
]


@dataclass
class Outcome:
    """Everything that the requests got."""

    texts: dict[int, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    pause: float = 0.0
    cached: int = 0
    prompt: int = 0
    tokens: int = 0
    chunks: int = 0
    seconds: float = 0.0


async def main(options: argparse.Namespace) -> Outcome:
    """Send the requests, so many at a time."""
    outcome, numbers = Outcome(), iter(range(options.requests))
    started_s = time.perf_counter()

    async def send() -> None:
        for number in numbers:
            await one(options, number, outcome)

    await asyncio.gather(*(send() for _ in range(options.at_once)))
    outcome.seconds = time.perf_counter() - started_s
    return outcome


def body_of(options: argparse.Namespace, number: int) -> dict[str, Any]:
    """Return a request: every other one draws by a seed."""
    rng = random.Random(number % options.prefixes if options.prefixes else number)
    beginning = " ".join(rng.choice(WORDS) for _ in range(options.words))
    own = f" number {number}" if options.prefixes else ""
    sampling = {"temperature": 0} if number % 2 == 0 else {"temperature": 0.8, "seed": number}
    return {
        "model": options.model,
        "prompt": options.prompt.format(number=number) if options.prompt else beginning + own,
        "max_tokens": options.max_tokens,
        "stream": True,
        "ignore_eos": True,
        "stream_options": {"include_usage": True},
        **sampling,
    }


async def one(options: argparse.Namespace, number: int, outcome: Outcome) -> None:
    """Send one request, and add what came to `outcome`."""
    try:
        async with asyncio.timeout(options.timeout_s):
            await _stream(options, number, outcome)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
        outcome.errors.append(f"{number}: {type(error).__name__}: {error}")


async def _stream(options: argparse.Namespace, number: int, outcome: Outcome) -> None:
    host, port = options.address.rsplit(":", 1)
    data = json.dumps(body_of(options, number)).encode()
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
    status = (await reader.readline()).decode(errors="replace").strip()
    while (await reader.readline()) not in (b"\r\n", b""):
        pass
    if " 200 " not in f"{status} ":
        outcome.errors.append(f"{number}: {status}: {(await reader.read(400)).decode(errors='replace')}")
        writer.close()
        return
    text: list[str] = []
    last_s, is_done = time.perf_counter(), False
    async for line in reader:
        if not line.startswith(b"data: "):
            continue
        if line.strip() == b"data: [DONE]":
            is_done = True
            continue
        event = json.loads(line[6:])
        if "error" in event:
            outcome.errors.append(f"{number}: {event['error']['message']}")
        for choice in event.get("choices", ()):
            if choice.get("text"):
                now_s = time.perf_counter()
                outcome.pause = max(outcome.pause, now_s - last_s) if text else outcome.pause
                last_s = now_s
                text.append(choice["text"])
                outcome.chunks += 1
        if (usage := event.get("usage")) is not None:
            outcome.prompt += usage["prompt_tokens"]
            outcome.tokens += usage["completion_tokens"]
            outcome.cached += usage["prompt_tokens_details"]["cached_tokens"]
    writer.close()
    if not is_done:
        outcome.errors.append(f"{number}: the stream ended early")
    outcome.texts[number] = "".join(text)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("address", help="HOST:PORT of the API")
    made.add_argument("--model", default="demo")
    made.add_argument("--at-once", type=int, default=12)
    made.add_argument("--requests", type=int, default=48)
    made.add_argument("--max-tokens", type=int, default=400)
    made.add_argument("--words", type=int, default=16)
    made.add_argument("--prefixes", type=int, default=0, help="so many beginnings are shared")
    made.add_argument("--prompt", help="in place of words; {number} is the request's")
    made.add_argument("--timeout-s", type=float, default=300.0)
    return made


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(parser().parse_args())).__dict__))
