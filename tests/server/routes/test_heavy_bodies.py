"""Whatever body comes, within the limits or beyond, the event loop does little at once for it.

Judged by the work and not by a clock: what the loop's thread parses and makes is counted in bytes for each
turn of the loop, while another client asks for `/health`. `python -m bench.longest_wait` measures the waits.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.heavy_bodies import HeavyBody, heavy_bodies
from bench.longest_wait import post
from models.machine.allowance import Allowance
from server.engine.events import ChoiceEnd, Delta, PromptScored, Started
from server.http.body_processes import BodyProcesses
from server.ipc.messages import Generate
from tests.server.http_client import app_for, serving
from tests.server.scripted_service import ScriptedService, Step, finish, says, scored
from tests.server.turn_ledger import TurnLedger

TURN_BYTES = 640 << 10
"""One callback parses and makes at most so much: reading 64 KiB of a worker and writing its logprobs takes
the most, some 10 ms of a slow core."""
BODIES = heavy_bodies()
QUARTER = 4
"""A fourth of what is allowed is still many turns' work; `make thorough` sends the heaviest bodies."""
READ_S = 600.0
"""The readers needn't give way for so long, or they would wait for the tests beside this one."""


@pytest.fixture(scope="module")
def readers() -> Iterator[BodyProcesses]:
    processes = BodyProcesses(Allowance(burst_s=READ_S))
    yield processes
    processes.close()


def ask_health(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", "/health")
    assert json.loads(connection.getresponse().read()) == {"status": "ok"}
    connection.close()


async def beside_others(url: str, path: str, body: bytes) -> tuple[int, int]:
    """Send a body; return its status, and how often another client got `/health` meanwhile."""
    heavy_task = asyncio.create_task(asyncio.to_thread(post, url, path, body))
    n_answers = 0
    while not heavy_task.done():
        await asyncio.to_thread(ask_health, url)
        n_answers += 1
        await asyncio.wait([heavy_task], timeout=0.02)  # who reads a heavy body has what others leave
    return await heavy_task, n_answers


@pytest.mark.parametrize("part", [QUARTER, pytest.param(1, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("heavy", BODIES, ids=[heavy.name for heavy in BODIES])
async def test_a_heavy_body_is_little_work_at_once(
    heavy: HeavyBody, part: int, readers: BodyProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = TurnLedger(monkeypatch)
    app = app_for(ScriptedService(says("x")))
    app.state.api.__dict__["body_processes"] = readers
    async with serving(app) as url:
        status, n_answers = await beside_others(url, heavy.path, heavy.make(part))
    assert status in heavy.statuses
    assert n_answers > 0
    assert ledger.large_reads == []
    assert ledger.most_bytes <= TURN_BYTES, ledger.most_by


def scores_a_lot(request: Generate) -> list[Step]:
    """Return an answer of many logprobs, each step of the engine in a turn of its own."""
    choices, n_probs = range(request.n), request.n_probs or 0
    steps: list[Step] = [Started(id=request.id, prompt_tokens=2000, cached_tokens=0)]
    if request.echo:
        steps += [Delta(id=request.id, index=i, text="a" * 2000, n_tokens=0) for i in choices]
    if request.score_prompt:
        prompt = [scored(b"a", i, -1.0 if i else None, n_probs) for i in range(2000)]
        steps.append(PromptScored(id=request.id, logprobs=tuple(prompt)))
    for position in range(100):
        told = (scored(b"a", position, -1.0, n_probs),)
        steps += [Delta(id=request.id, index=i, text="a", tokens=(5,), logprobs=told) for i in choices]
        steps.append(0.0)
    steps += [ChoiceEnd(id=request.id, index=i, finish_reason="length") for i in choices]
    return [*steps, finish(request, 100 * request.n)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"logprobs": True, "top_logprobs": 20, "n": 32, "return_tokens": True}),
        ("/v1/completions", {"prompt": "a", "logprobs": 20, "n": 32}),
        ("/v1/completions", {"prompt": "a", "logprobs": 20, "n": 32, "echo": True}),
    ],
    ids=["chat", "text", "echo"],
)
async def test_a_heavy_answer_is_little_work_at_once(
    path: str, fields: dict[str, Any], stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = TurnLedger(monkeypatch)
    body = {"messages": [{"role": "user", "content": "a"}], "stream": stream, **fields}
    async with serving(app_for(ScriptedService(scores_a_lot))) as url:
        status, n_answers = await beside_others(url, path, json.dumps(body).encode())
    assert status == 200
    assert n_answers > 0
    assert ledger.most_bytes <= TURN_BYTES, ledger.most_by


async def test_a_small_body_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first token of a usual request waits for no other process."""
    ledger = TurnLedger(monkeypatch)
    content = "Hello, you. " * 4_000
    body = {"messages": [{"role": "user", "content": content}]}
    app = app_for()
    n_started = app.state.api.body_processes.n_started
    async with serving(app) as url:
        status, _ = await beside_others(url, "/v1/chat/completions", json.dumps(body).encode())
    assert (status, ledger.n_reads) == (200, 1)
    assert app.state.api.body_processes.n_started == n_started
