"""Jobs in processes: scripted ones for their ends, real ones that quantize the demo model."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from models.errors import NotKept, RequestError
from models.machine.child_process import module_command
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from server.jobs.job import Job
from server.jobs.table import JOB_MODULE, MOST_RUNNING, JobTable
from tests.child_processes import ChildProcesses


def scripted(code: str) -> JobTable:
    return JobTable(
        [sys.executable, "-c", f"import json, signal, sys, time\nwish = json.loads(input())\n{code}"]
    )


async def events_of(job: Job, after: int = 0) -> list[tuple[int, str, dict[str, Any]]]:
    async with asyncio.timeout(60):
        return [event async for event in job.events(after)]


TELLS = """
for n in range(4):
    print(json.dumps({"event": "progress", "stage": "download", "done": n, "total": 3}), flush=True)
print(json.dumps({"event": "done", "result": {"name": wish["model"], "types": wish["types"]}}), flush=True)
"""


async def test_events_come_to_everybody_and_can_be_gone_on_with() -> None:
    table = scripted(TELLS)
    job = table.start("pull", "org/one", ("Q8_0",))
    assert table.start("pull", "org/one", ("Q8_0",)) is job, "it is being done already"
    early, late = await asyncio.gather(events_of(job), events_of(job, 3))
    assert [number for number, _, _ in early] == [1, 2, 3, 4, 5]
    assert [name for _, name, _ in early] == ["progress"] * 4 + ["done"]
    assert late == early[3:] == await events_of(job, 3)
    assert await events_of(job, 5) == await events_of(job, 99) == []
    _, _, done = early[-1]
    assert (done["state"], done["result"]) == ("done", {"name": "org/one", "types": ["Q8_0"]})
    assert (done["progress"], done["completed"], done["total"], done["stage"]) == (1.0, 3, 3, "download")
    assert [one.id for one in table.list()] == [job.id]
    assert table.get(job.id).document()["ended"] is not None
    with pytest.raises(NotKept, match="there is no job"):
        table.get("job-0")


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ('print(json.dumps({"event": "error", "message": "no such model"}))\nsys.exit(1)', "no such model"),
        ("sys.exit('oops')", "failed with status 1: oops"),
        ("signal.raise_signal(signal.SIGKILL)", "died of SIGKILL"),
        ("print('nonsense')", "the job's process can't be run"),
    ],
)
async def test_a_job_that_fails_says_why(code: str, problem: str) -> None:
    job = scripted(code).start("pull", "org/one")
    _, name, data = (await events_of(job))[-1]
    assert (name, data["state"]) == ("error", "failed")
    assert problem in data["error"]["message"]


async def test_a_cancelled_job_leaves_no_process_and_a_limit_holds() -> None:
    children = ChildProcesses()
    table = scripted("signal.signal(signal.SIGINT, signal.SIG_DFL)\ntime.sleep(60)")
    jobs = [table.start("pull", f"org/{n}") for n in range(MOST_RUNNING)]
    with pytest.raises(RequestError, match="8 jobs run already, which is the limit"):
        table.start("pull", "org/more")
    await asyncio.sleep(0.3)
    cancelled = await table.cancel(jobs[0].id)
    assert (cancelled.state, cancelled.problem) == ("cancelled", "the job was cancelled")
    assert (await events_of(cancelled))[-1][2]["error"]["code"] == "job_cancelled"
    assert await table.cancel(jobs[0].id) is cancelled
    await table.stop()
    assert not any(job.is_running for job in jobs)
    assert not children.alive


STAYS_OR_ENDS = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(json.dumps({"event": "progress", "stage": "download", "done": 1, "total": 2}), flush=True)
if wish["stream"]:
    time.sleep(60)
print(json.dumps({"event": "done", "result": {}}), flush=True)
"""


async def test_a_job_that_is_about_to_end_is_not_joined() -> None:
    children = ChildProcesses()
    table = scripted(STAYS_OR_ENDS)
    first = table.start("pull", "org/one", stream=True)
    async for _ in first.events():
        break
    table.abandon(first.id)  # which it doesn't hear
    second = table.start("pull", "org/one")
    assert second is not first
    assert table.start("pull", "org/one") is second
    third = table.start("pull", "org/two")
    assert (await events_of(third))[-1][1] == "done"
    assert "stage" not in second.document(), "it begins behind the first"
    table.abandon(second.id)
    fourth = table.start("pull", "org/one")
    await table.cancel(first.id)
    assert [(await events_of(job))[-1][2]["state"] for job in (first, second)] == ["cancelled", "cancelled"]
    assert (await events_of(fourth))[-1][1] == "done"
    await table.stop()
    assert not children.alive


@pytest.mark.model
async def test_the_demo_model_is_quantized_and_a_cancelled_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    table = JobTable(module_command(JOB_MODULE))
    store = ModelStore(Paths.from_environment())
    first = table.start("pull", "demo", ("Q4_0", "Q8_0"))
    async for _, name, _ in first.events():
        assert name in ("progress", "error")
        await table.cancel(first.id)
    assert first.state == "cancelled"
    assert store.list() == []
    staged = tmp_path / "home" / "staging"
    assert not staged.exists() or not list(staged.iterdir())
    job = table.start("pull", "demo", ("Q4_0",))
    _, _, done = (await events_of(job))[-1]
    assert done["state"] == "done", done
    assert [one["type"] for one in done["result"]["types"]] == ["Q4_0"]
    assert list(store.get(ModelRef.parse("demo")).types) == ["Q4_0"]
    same = table.start("update", "demo")
    assert (await events_of(same))[-1][2]["result"]["updated"] is False
