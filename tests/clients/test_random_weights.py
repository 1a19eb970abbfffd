"""Clients over random weights: a model that knows nothing makes no malformed call, as none is allowed.

Each client that has tools is sent calls. An agent carries them out and ends by itself, unless what a call
started takes longer than its time; a library runs the same checks as over the script, of which those that
need a certain text may fail. Everything that it is told is recorded.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.agents import AGENTS, Agent, Job
from tests.clients.calls import calls_of, malformed
from tests.clients.conftest import MODEL, Address, Note
from tests.clients.isolation import TIMED_OUT, ClientRun, run_client
from tests.clients.libraries import LIBRARIES, Library, outcomes_of
from tests.clients.pico_agent import N_CTX
from tests.clients.table import Row
from tests.clients.traffic import Exchange, answered
from tests.clients.workspace import write_workspace

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

AGENT_S = 90.0
"""An agent that goes on longer is ended: a tool may wait as long as a random number says."""
LIBRARY_S = 240.0
MAX_REQUESTS = 200
"""No client asks this often in that time unless it loops."""


@dataclass(frozen=True)
class Calls:
    """What a run's record says of its calls."""

    asked: Sequence[Exchange]
    n_calls: int
    wrong: Sequence[str]

    @classmethod
    def of(cls, run: ClientRun) -> Calls:
        asked = [exchange for exchange in run.exchanges if exchange.method == "POST"]
        return cls(asked, sum(len(calls_of(one)) for one in asked), malformed(asked))

    def refused(self, *allowed: int) -> list[str]:
        """Return the answers that are errors, but for those of some statuses."""
        return [
            f"{one.path}: {one.status} {one.answer and one.answer.body[:300]!r}"
            for one in self.asked
            if one.status >= 400 and one.status not in allowed
        ]

    def __str__(self) -> str:
        return f"random weights: {self.n_calls} calls, {len(self.wrong)} malformed"


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_an_agent_gets_valid_calls(agent: Agent, pico_server: Address, tmp_path: Path, note: Note) -> None:
    home = tmp_path / "home"
    home.mkdir()
    work = write_workspace(tmp_path / "work")
    command = agent.command(Job(MODEL, N_CTX, home, work))
    run = run_client(command.argv, pico_server, home, work, command.env, AGENT_S)
    shutil.rmtree(home, ignore_errors=True)
    calls = Calls.of(run)
    refused = calls.refused()
    ended = "still at work" if run.exit_code == TIMED_OUT else f"ended by itself ({run.exit_code})"
    missing = ["no call came"] if agent.has_tools and not calls.n_calls else []
    first = [*calls.wrong, *refused, *missing, ""][0]
    outcome = f"{calls}; {ended}"
    note(Row(agent.name, agent.version, agent.route, len(calls.asked), outcome, first[:150], stage="b"))
    said = run.stdout[-1000:] + run.stderr[-2000:]
    assert not first, said
    assert 0 < len(calls.asked) < MAX_REQUESTS, said
    assert run.exit_code in (0, TIMED_OUT), said


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_a_library_gets_valid_calls(
    library: Library, pico_server: Address, tmp_path: Path, note: Note
) -> None:
    command = library.command(MODEL)
    home = tmp_path / "home"
    home.mkdir()
    run = run_client(command.argv, pico_server, home, home, command.env, LIBRARY_S)
    calls, outcomes = Calls.of(run), outcomes_of(run)
    failed = {name: text for name, text in outcomes.items() if text != "ok"}
    provoked = (404, 400) if "errors" in outcomes else (404,)
    first = [*calls.wrong, *calls.refused(*provoked), *([] if calls.n_calls else ["no call came"]), ""][0]
    outcome = f"{calls}; {len(outcomes) - len(failed)} of {len(outcomes)}"
    shown = first[:150] or library.needs(failed)
    n, routes = len(calls.asked), answered(calls.asked)
    note(Row(library.name, library.version, routes, n, outcome, shown, stage="b"))
    assert not first, failed
    assert outcomes, run.stdout[-2000:] + run.stderr[-4000:]
    assert n < MAX_REQUESTS, failed
