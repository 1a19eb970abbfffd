"""The gaps of a stream while others send hostile schemas and grammars to a running server.

    python -m bench.hostile_neighbours URL [--n 500] [--rounds 8] [--clients 2]

All the while one neighbour streams free text. A round has four parts: nothing else is sent; clients post
forms that are refused to the chat, without a pause; they post harmless questions; they post hostile ones that
are followed, as many as questions. Printed are the statuses, the 99th percentile of the neighbour's gaps in
each part, and ratios: refused forms to quiet, as they shouldn't be felt, and followed forms to harmless
questions, as both have their share of each step. A ratio is of the gaps of all rounds together, as a part of
one round may have a hundred, whose 99th percentile is the longest.

The clients are a process of their own that has what the others leave of the machine: on a small one it would
take the cores from the server, which other people's machines don't.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import httpx

from bench.sigterm import ends_by_sigterm
from models.errors import RequestError
from models.machine.allowance import Allowance
from models.machine.priority import take_what_is_left
from server.ipc.constraint import Constraint
from server.worker.constraints.checker import Limits
from server.worker.constraints.grammar_text import GrammarRequest
from server.worker.constraints.process import GrammarProcess
from tests.hostile_grammars import hostile_constraints

Part = Literal["quiet", "refused", "harmless", "followed"]
Round = dict[Part, list[Constraint | None]]
"""The forms that are asked for in each part, None for none."""

MAX_TOKENS = 64
"""A hostile form that compiles is followed for so many tokens, and a harmless answer has as many."""
MAX_RETRIES = 20
"""A question is sent at most so many times to a machine that has no time for it just then."""
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
    """The answers to hostile requests, and the neighbour's gaps in seconds, by round."""

    statuses: Counter[int] = field(default_factory=Counter)
    unclear: list[str] = field(default_factory=list)
    gaps: dict[Part, list[list[float]]] = field(default_factory=lambda: {part: [] for part in get_args(Part)})

    def ratio(self, part: Part, beside: Part) -> float:
        """The 99th percentile of all gaps in one part to that in another."""
        return percentile(self.all_gaps(part)) / percentile(self.all_gaps(beside))

    def all_gaps(self, part: Part) -> list[float]:
        """Return the gaps of a part in all rounds."""
        return [gap for kept in self.gaps[part] for gap in kept]


def percentile(gaps: list[float], share: float = 0.99) -> float:
    """Return the gap that `share` of all don't exceed."""
    if not gaps:
        return math.nan
    return sorted(gaps)[min(len(gaps) - 1, int(share * len(gaps)))]


def body(constraint: Constraint | None) -> bytes:
    """Return the chat that asks for a form, or for none."""
    question: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": MAX_TOKENS}
    if constraint is None:
        return json.dumps({**question, "ignore_eos": True}).encode()
    text = constraint.text
    value = text if constraint.kind in ("json_schema", "choice") else json.dumps(text)
    return f'{json.dumps(question)[:-1]}, "{_FIELDS[constraint.kind]}": {value}}}'.encode()


def sorted_forms(n: int, seed: int) -> tuple[list[Constraint], list[Constraint]]:
    """Return the hostile forms that a server refuses, and those that it follows, by the product's own check.

    A form that only the compilation for a vocabulary refuses is among the second. None takes half a second of
    computing and is accepted.
    """
    refused: list[Constraint] = []
    followed: list[Constraint] = []
    process = GrammarProcess(Limits(cpu_s=0.5, wall_s=600), Allowance(burst_s=1e9))
    for constraint in hostile_constraints(n, seed):
        try:
            process.grammar(GrammarRequest(param=constraint.param, constraint=constraint))
        except RequestError:
            refused.append(constraint)
        else:
            followed.append(constraint)
    process.close()
    return refused, followed


def post(url: str, content: bytes) -> tuple[int, bytes]:
    """Send a chat, again where the machine had no time for it; return the status and the answer."""
    for _ in range(MAX_RETRIES):
        status, answer, retry_after_s = post_once(url, content)
        if status != HTTPStatus.TOO_MANY_REQUESTS:
            break
        time.sleep(retry_after_s)
    return status, answer


def post_once(url: str, content: bytes) -> tuple[int, bytes, float]:
    """Send a chat; return the status, the answer, also if that came before all was read, and Retry-After."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", "/v1/chat/completions", content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(), float(response.getheader("Retry-After") or 0)
    finally:
        connection.close()


@dataclass
class Answers:
    """The statuses of hostile requests, and each answer that isn't as it should be."""

    statuses: Counter[int] = field(default_factory=Counter)
    unclear: list[str] = field(default_factory=list)


def stay_behind() -> None:
    """Have this process take what the others leave, also where Linux shares cores out among sessions."""
    os.setsid()
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")
    take_what_is_left(os.getpid())


def post_forms(url: str, forms: Sequence[Constraint | None], clients: int) -> Answers:
    """Send one question for each form, so many at the same time."""
    answers = Answers()
    bodies = [body(form) for form in forms]
    with ThreadPoolExecutor(clients) as threads:
        for form, came in zip(forms, threads.map(partial(_attempt, url), bodies), strict=True):
            _judge(form, came, answers)
    return answers


def _attempt(url: str, content: bytes) -> tuple[int, bytes] | OSError:
    try:
        return post(url, content)
    except OSError as error:
        return error


def _judge(form: Constraint | None, came: tuple[int, bytes] | OSError, answers: Answers) -> None:
    """Note an answer; a refusal of a form must name the field, and a failure on the way its reason.

    A form for which the machine had no time beside other work may come again: that is clear, too.
    """
    text = "no form" if form is None else form.text[:200]
    if isinstance(came, OSError):
        answers.unclear.append(f"{came!r} {text}")
        return
    status, answer = came
    if form is not None:
        answers.statuses[status] += 1
    if status == 200:
        return
    error_body: dict[str, Any] = json.loads(answer).get("error", {})
    message = error_body.get("message", "")
    if status == 429 and "no time for it" in message and form is not None:
        return
    named = error_body.get("param") or status == 413 or "the request's body" in message
    if status not in (400, 413) or not message or not named or form is None:
        answers.unclear.append(f"{status} {answer[:300]!r} {text}")


async def neighbour(client: httpx.AsyncClient, url: str, rest_s: float = 0.0) -> AsyncIterator[float]:
    """Yield the time of each chunk of a stream, for ever, with so long a rest after each answer."""
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
        await asyncio.sleep(rest_s)


def rounds_of(n: int, n_rounds: int, seed: int = 5) -> list[Round]:
    """Return `n` hostile forms divided into rounds, with as many harmless questions as forms are followed."""
    refused, followed = sorted_forms(n, seed)
    rounds: list[Round] = []
    for number in range(n_rounds):
        hostile = followed[number::n_rounds]
        rounds.append(
            {
                "quiet": [],
                "refused": list(refused[number::n_rounds]),
                "harmless": [None] * len(hostile),
                "followed": list(hostile),
            }
        )
    return rounds


async def measure(
    url: str,
    rounds: list[Round],
    clients: int,
    *,
    quiet_s: float = 10.0,
    behind: bool = True,
    rest_s: float = 0.0,
) -> Outcome:
    """Post what each part of each round has, and take the neighbour's gaps all the while.

    With `behind`, the clients get what others leave of the machine: beside steady work, nearly nothing. The
    neighbour rests `rest_s` seconds after an answer.
    """
    outcome = Outcome()
    gaps: list[float] = []

    async def watch() -> None:
        last = 0.0
        async with httpx.AsyncClient(timeout=600) as client:
            async for now in neighbour(client, url, rest_s):
                if last and now:
                    gaps.append(now - last)
                last = now

    others = multiprocessing.active_children()
    watching = asyncio.create_task(watch())
    loop, spawning = asyncio.get_running_loop(), multiprocessing.get_context("spawn")
    posting = ProcessPoolExecutor(1, spawning, stay_behind if behind else None)
    try:
        await loop.run_in_executor(
            posting, post_forms, url, [], clients
        )  # it is started before the first round
        for parts in rounds:
            for part, questions in parts.items():
                begun, n_before = time.perf_counter(), len(gaps)
                if part == "quiet":
                    await asyncio.sleep(quiet_s)
                else:
                    answers = await loop.run_in_executor(posting, post_forms, url, questions, clients)
                    outcome.statuses += answers.statuses
                    outcome.unclear += answers.unclear
                if watching.done():
                    watching.result()
                kept, took_s = gaps[n_before:], time.perf_counter() - begun
                outcome.gaps[part].append(kept)
                print(
                    f"{part}: {len(questions)} forms, {took_s:.1f} s, {len(kept)} gaps, p50 "
                    f"{1e3 * percentile(kept, 0.5):.1f} ms, p99 {1e3 * percentile(kept):.1f} ms",
                    flush=True,
                )
    except BaseException:  # whoever ends this doesn't wait for the questions that are under way
        for child in multiprocessing.active_children():
            if child not in others:
                child.kill()
        raise
    finally:
        watching.cancel()
        posting.shutdown()
    return outcome


def main(argv: list[str] | None = None) -> int:
    """Print the parts and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--clients", type=int, default=2)
    options = parser.parse_args(argv)
    ends_by_sigterm()
    rounds = rounds_of(options.n, options.rounds)
    outcome = asyncio.run(measure(options.url, rounds, options.clients))
    print(f"statuses {dict(outcome.statuses)}; p99 of the gaps of all rounds:")
    for part in get_args(Part):
        gaps = outcome.all_gaps(part)
        half, last = (1e3 * percentile(gaps, share) for share in (0.5, 0.99))
        print(f"{part}: {len(gaps)} gaps, p50 {half:.1f} ms, p99 {last:.1f} ms")
    print(f"refused forms to quiet {outcome.ratio('refused', 'quiet'):.2f}")
    print(f"followed forms to harmless questions {outcome.ratio('followed', 'harmless'):.2f}")
    print(f"harmless questions to quiet {outcome.ratio('harmless', 'quiet'):.2f}")
    for line in outcome.unclear[:20]:
        print(line)
    return 1 if outcome.unclear else 0


if __name__ == "__main__":
    sys.exit(main())
