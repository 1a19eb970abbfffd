"""A load client for any OpenAI-compatible server: N streams at once, each timed token by token.

Threads and blocking sockets from the standard library: the client shares the machine with the server it
measures, so it must cost little, and the same for every server.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(slots=True)
class StreamResult:
    """One streamed completion. Times are seconds on the clock of `time.perf_counter`."""

    started: float = 0.0
    token_times: list[float] = field(default_factory=list)
    n_prompt_tokens: int | None = None
    n_tokens: int | None = None
    """What the server says it generated; None if it doesn't say."""
    error: str | None = None

    @property
    def n_generated(self) -> int:
        return len(self.token_times) if self.n_tokens is None else self.n_tokens

    @property
    def first_token_s(self) -> float:
        return self.token_times[0] - self.started


@dataclass(frozen=True, slots=True)
class LoadResult:
    """All streams of one load. `wall_s` runs from the first request to the last token."""

    streams: tuple[StreamResult, ...]
    wall_s: float

    @property
    def tokens_per_s(self) -> float:
        return sum(s.n_generated for s in self.streams) / self.wall_s

    @property
    def first_token_s(self) -> float:
        """Median time to first token."""
        times = sorted(s.first_token_s for s in self.streams)
        return times[len(times) // 2]

    @property
    def gap_s(self) -> float:
        """Median time between two tokens of a stream."""
        gaps = sorted(
            b - a for s in self.streams for a, b in zip(s.token_times, s.token_times[1:], strict=False)
        )
        return gaps[len(gaps) // 2] if gaps else 0.0


def stream_completion(url: str, body: dict[str, Any], timeout_s: float = 300.0) -> StreamResult:
    """POST `body` to `url`/v1/completions with `stream: true` and time each chunk that carries text.

    Failures are in `error`, never raised: a load goes on when one of its streams fails.
    """
    result = StreamResult(started=time.perf_counter())
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
    try:
        payload = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}})
        connection.request("POST", "/v1/completions", payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            result.error = f"HTTP {response.status}: {response.read(500)!r}"
            return result
        for line in response:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            now = time.perf_counter()
            chunk = json.loads(line[6:])
            if "error" in chunk:
                result.error = str(chunk["error"])
                return result
            if chunk.get("choices") and chunk["choices"][0].get("finish_reason") is None:
                result.token_times.append(now)
            if chunk.get("usage"):
                result.n_tokens = chunk["usage"]["completion_tokens"]
                result.n_prompt_tokens = chunk["usage"]["prompt_tokens"]
        if not result.token_times:
            result.error = "the stream carried no token"
    except (OSError, http.client.HTTPException, ValueError) as error:
        result.error = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return result


def run_load(url: str, bodies: list[dict[str, Any]]) -> LoadResult:
    """Send all `bodies` at the same moment, one thread each, and wait for the last.

    Raises RuntimeError if a stream failed: a rate over failed streams means nothing.
    """
    results: list[StreamResult | None] = [None] * len(bodies)
    barrier = threading.Barrier(len(bodies))

    def one(i: int) -> None:
        barrier.wait()
        results[i] = stream_completion(url, bodies[i])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    streams = tuple(r for r in results if r is not None)
    failed = [s.error for s in streams if s.error is not None]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(bodies)} streams failed; the first: {failed[0]}")
    start = min(s.started for s in streams)
    return LoadResult(streams, max(s.token_times[-1] for s in streams) - start)
