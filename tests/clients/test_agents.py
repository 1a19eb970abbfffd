"""Coding agents do a whole task over a scripted model: read a file, edit it, run its test, finish."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.agents import AGENTS, Agent, Job
from tests.clients.conftest import MODEL, Address, Note
from tests.clients.isolation import ClientRun, run_client
from tests.clients.pico_agent import N_CTX
from tests.clients.scripted_model import DONE
from tests.clients.table import Row
from tests.clients.workspace import has_run_test, is_fixed, write_workspace

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

TIMEOUT_S = 150.0


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_a_whole_task(agent: Agent, scripted_server: Address, tmp_path: Path, note: Note) -> None:
    home = tmp_path / "home"
    home.mkdir()
    work = write_workspace(tmp_path / "work")
    command = agent.command(Job(MODEL, N_CTX, home, work))
    run = run_client(command.argv, scripted_server, home, work, command.env, TIMEOUT_S)
    problems = [text for text in _problems(agent, run, work) if text]
    outcome = "the whole task" if not problems else "failed"
    n = len(_asked(run))
    note(Row(agent.name, agent.version, agent.route, n, outcome, problems[0][:150] if problems else ""))
    assert not problems, "\n".join([*problems, run.stdout[-2000:], run.stderr[-2000:]])


def _asked(run: ClientRun) -> list[str]:
    """Return the paths of the requests for answers."""
    return [exchange.path for exchange in run.exchanges if exchange.method == "POST"]


def _problems(agent: Agent, run: ClientRun, work: Path) -> list[str]:
    """Return what isn't as it should be."""
    refused = [exchange for exchange in run.exchanges if exchange.method == "POST" and exchange.status != 200]
    n = len(_asked(run))
    return [
        f"{refused[0].path}: {refused[0].answer}" if refused else "",
        f"it ended with {run.exit_code}" if run.exit_code else "",
        "" if is_fixed(work) else "the file isn't corrected",
        "" if not agent.has_tools or has_run_test(work) else "the test wasn't run",
        "" if DONE in agent.said(run) else "it didn't say DONE",
        "" if n == agent.n_requests else f"{n} requests, not {agent.n_requests}: {_asked(run)}",
    ]
