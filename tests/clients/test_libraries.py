"""Published libraries run their checks over a scripted model, each in an environment of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.conftest import MODEL, Address, Note
from tests.clients.isolation import run_client
from tests.clients.libraries import LIBRARIES, Library, outcomes_of
from tests.clients.table import Row
from tests.clients.traffic import answered

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

TIMEOUT_S = 240.0
MAX_REQUESTS = 150
"""No library needs more for its checks; one that asks again and again does."""


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_checks(library: Library, scripted_server: Address, tmp_path: Path, note: Note) -> None:
    command = library.command(MODEL)
    home = tmp_path / "home"
    home.mkdir()
    run = run_client(command.argv, scripted_server, home, home, command.env, TIMEOUT_S)
    outcomes = outcomes_of(run)
    failed = {name: text for name, text in outcomes.items() if text != "ok"}
    wrong = {name: text for name, text in failed.items() if name not in library.later}
    n_ok = len(outcomes) - len(failed)
    first = next((f"{name}: {text}" for name, text in wrong.items()), "")
    first = first or library.needs(failed)
    asked = [exchange for exchange in run.exchanges if exchange.method == "POST"]
    shown = answered(asked)
    note(Row(library.name, library.version, shown, len(asked), f"{n_ok} of {len(outcomes)}", first[:300]))
    assert outcomes, run.stdout[-2000:] + run.stderr[-4000:]
    assert not wrong, json.dumps(wrong, indent=1)
    assert failed.keys() == library.later.keys(), (
        "a check passes that was to come later: take it out of `later`"
    )
    assert len(asked) <= MAX_REQUESTS
