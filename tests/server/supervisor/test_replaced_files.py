"""A model's file that is replaced while it is served, on workers that follow a script."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from server.engine.events import Finish
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.file_state import SETTLED_S, FileState
from server.supervisor.supervisor import Supervisor
from tests.server.supervisor.conftest import QUICK, MakeSupervisor, WriteScript, scripted_command, spec_of
from tests.server.supervisor.test_supervisor import Reader, collect, until


def replace_file(path: Path, age_s: float = 60.0) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    os.utime(other, (time.time() - age_s,) * 2)
    other.replace(path)


async def test_the_next_request_that_comes_when_none_runs_gets_it(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    entry = script()
    supervisor = supervise(entry)
    await collect(supervisor, "one", "tokens 1 0")
    old = supervisor.pids[entry.key]
    running = Reader(supervisor, "one", "tokens 40 0.02", "running")
    await until(running.has_output)
    replace_file(entry.path)
    await collect(supervisor, "one", "tokens 1 0", "beside")
    assert supervisor.pids[entry.key] == old
    assert isinstance(await running.end(), Finish)
    await collect(supervisor, "one", "tokens 1 0", "next")
    new = supervisor.pids[entry.key]
    assert new != old
    await collect(supervisor, "one", "tokens 1 0", "after")
    assert supervisor.pids[entry.key] == new


async def test_a_model_that_is_never_idle_gets_it_in_turn_and_no_request_is_lost(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    entry = script()
    supervisor = supervise(entry, policy=replace(QUICK, turn_s=0.5))
    await collect(supervisor, "one", "tokens 1 0")
    old = supervisor.pids[entry.key]
    replace_file(entry.path)
    ends = []
    before = Reader(supervisor, "one", "tokens 20 0.02", "r")
    for n in range(12):
        await until(before.has_output)
        following = Reader(supervisor, "one", "tokens 20 0.02", f"r{n}")
        ends.append(await before.end())
        before = following
    ends.append(await before.end())
    assert [type(end) for end in ends] == [Finish] * 13
    assert supervisor.pids[entry.key] != old


async def test_a_newer_file_of_the_store_is_switched_to(script: WriteScript) -> None:
    old = replace(script(), source="hub org/one", created=1)
    other = script("other")
    new = replace(old, path=other.path, created=2)
    stored: list[CatalogueEntry] = [old]
    catalogue = Catalogue((old,), lambda: stored)
    supervisor = Supervisor(catalogue, spec_of, policy=QUICK, command=scripted_command)
    try:
        await collect(supervisor, "one", "tokens 1 0")
        first = supervisor.pids[old.key]
        stored[:] = [new, old]
        catalogue._cache = None
        assert catalogue.served == (old,)
        await collect(supervisor, "one", "tokens 1 0")
        assert catalogue.served == (new,)
        assert supervisor.pids[old.key] != first
        assert supervisor.host("one").entry == new
        assert supervisor.ready() is False or supervisor.host("one").served
        stored[:] = [replace(new, path=old.path, source="path /elsewhere", created=3)]
        catalogue._cache = None
        await collect(supervisor, "one", "tokens 1 0")
        assert supervisor.host("one").entry == new, "another source's is another model"
    finally:
        await supervisor.stop(0.0)


def test_what_counts_as_another_file(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00002.gguf"
    second = tmp_path / "m-00002-of-00002.gguf"
    for part in (path, second):
        part.write_bytes(b"x")
        os.utime(part, (1, 1))
    state = FileState.of(path)
    assert state is not None
    assert not state.was_replaced(path)
    second.write_bytes(b"xyz")
    assert not state.was_replaced(path), "it may still be written to"
    os.utime(second, (time.time() - SETTLED_S - 1,) * 2)
    assert state.was_replaced(path)
    second.unlink()
    assert not state.was_replaced(path), "what is gone can't be loaded"
