"""Coding agents over random weights: a model that knows nothing makes no malformed call, as none is allowed.

Each agent ends by itself or goes on with valid calls until its time is over; what it is told is recorded.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.clients.agents import AGENTS, Agent, Job
from tests.clients.calls import calls_of, malformed
from tests.clients.conftest import MODEL, Address, Note
from tests.clients.isolation import TIMED_OUT, run_client
from tests.clients.pico_agent import N_CTX
from tests.clients.table import Row
from tests.clients.workspace import write_workspace

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

TIME_S = 60.0
"""An agent that goes on longer is ended."""
MAX_REQUESTS = 200
"""No agent asks this often in that time unless it loops."""


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_no_call_is_malformed(agent: Agent, pico_server: Address, tmp_path: Path, note: Note) -> None:
    home = tmp_path / "home"
    home.mkdir()
    work = write_workspace(tmp_path / "work")
    command = agent.command(Job(MODEL, N_CTX, home, work))
    run = run_client(command.argv, pico_server, home, work, command.env, TIME_S)
    shutil.rmtree(home, ignore_errors=True)
    asked = [exchange for exchange in run.exchanges if exchange.method == "POST"]
    wrong = malformed(asked)
    refused = [
        f"{one.path}: {one.status} {one.answer and one.answer.body[:300]!r}"
        for one in asked
        if one.status >= 400
    ]
    n_calls = sum(len(calls_of(one)) for one in asked)
    ended = "still at work" if run.exit_code == TIMED_OUT else f"ended by itself ({run.exit_code})"
    first = [*wrong, *refused, ""][0]
    outcome = f"random weights: {n_calls} calls, {len(wrong)} malformed; {ended}"
    note(Row(agent.name, agent.version, agent.route, len(asked), outcome, first[:150], stage="b"))
    assert not wrong
    assert not refused
    assert 0 < len(asked) < MAX_REQUESTS, run.stderr[-2000:]
    assert run.exit_code in (0, TIMED_OUT), run.stdout[-1000:] + run.stderr[-2000:]
