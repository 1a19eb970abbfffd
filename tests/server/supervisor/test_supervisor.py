from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.errors import (
    DiskFull,
    InvalidGGUF,
    ModelNotFound,
    RequestError,
    WorkerBusy,
    WorkerDied,
    WorkerError,
)
from server.engine.events import Delta, Event, Failure, Finish, Started
from server.ipc.messages import (
    ApplyTemplate,
    ApplyTemplateReply,
    CountTokens,
    CountTokensReply,
    Detokenize,
    DetokenizeReply,
    Generate,
    Tokenize,
    TokenizeReply,
)
from server.ipc.prompts import ChatPrompt
from server.supervisor.event_iterator import iterate
from server.supervisor.memory_advice import MemoryAdvice
from server.supervisor.memory_check import Need
from server.supervisor.process.vigil import Vigil
from server.supervisor.supervisor import Supervisor
from tests.child_processes import ChildProcesses
from tests.server.supervisor.conftest import QUICK, MakeSupervisor, WriteScript, request


class Reader:
    """Reads a request's events in a task, so that a test can wait for some of them."""

    def __init__(self, supervisor: Supervisor, name: str, text: str, request_id: str = "r") -> None:
        self.events: list[Event] = []
        self.task = asyncio.create_task(self._read(supervisor, name, request(text, request_id)))

    async def _read(self, supervisor: Supervisor, name: str, asked: Generate) -> None:
        async for event in iterate(supervisor.generate(name, asked)):
            self.events.append(event)

    def has_started(self) -> bool:
        return bool(self.events)

    def has_output(self) -> bool:
        return any(isinstance(event, Delta) for event in self.events)

    async def end(self) -> Event:
        """Return the last event. Raises what the request raises."""
        await self.task
        return self.events[-1]


async def collect(supervisor: Supervisor, name: str, text: str, request_id: str = "r") -> list[Event]:
    return [event async for event in iterate(supervisor.generate(name, request(text, request_id)))]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until `condition()` is true; fail after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)


async def test_a_request_gets_its_events_and_one_end(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script())
    assert not supervisor.ready()
    supervisor.start()
    await supervisor.wait_ready()
    assert supervisor.ready()
    events = await collect(supervisor, "one", "tokens 3 0")
    assert isinstance(events[0], Started)
    assert text_of(events) == "0 1 2 "
    assert [isinstance(event, Finish | Failure) for event in events].count(True) == 1
    assert isinstance(events[-1], Finish)


async def test_loads_on_demand_once_for_all(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(stored=(script(load_s=0.3),))
    supervisor.start()
    assert supervisor.ready()
    assert supervisor.find("one").state == "available"
    answers = await asyncio.gather(*(collect(supervisor, "one", "tokens 1 0", f"r{i}") for i in range(5)))
    assert [text_of(events) for events in answers] == ["0 "] * 5
    assert len(supervisor.pids) == 1
    status = supervisor.find("one:q8_0")
    assert (status.name, status.state) == ("one:Q8_0", "ready")
    assert status.info is not None


async def test_unknown_model(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script())
    with pytest.raises(ModelNotFound, match=r"The model `gpt-4` does not exist"):
        supervisor.find("gpt-4")
    with pytest.raises(ModelNotFound):
        await collect(supervisor, "one:Q4_K_M", "tokens 1 0")


async def test_calls(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(stored=(script(),))
    with pytest.raises(WorkerError, match="not loaded"):
        await supervisor.stats("one")
    reply = await supervisor.ask("one", Tokenize(text="ab"), TokenizeReply)
    assert reply.tokens == [97, 98]
    assert (await supervisor.ask("one", Detokenize(tokens=(97, 98)), DetokenizeReply)).text == "ab"
    template = ApplyTemplate(prompt=ChatPrompt(messages=[{"role": "user"}]))
    rendered = await supervisor.ask("one", template, ApplyTemplateReply)
    assert rendered.prompt == "rendered"
    count = CountTokens(prompt=template.prompt)
    assert (await supervisor.ask("one", count, CountTokensReply)).n_tokens == 1
    with pytest.raises(RequestError, match="no messages") as caught:
        await supervisor.ask("one", ApplyTemplate(prompt=ChatPrompt(messages=[])), ApplyTemplateReply)
    assert caught.value.param == "m"
    assert (await supervisor.stats("one")).running == 0


async def test_busy_is_passed_on(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script())
    [event] = await collect(supervisor, "one", "busy")
    assert isinstance(event, Failure)
    assert (event.kind, event.retry_after_s) == ("busy", 2.0)


async def test_closing_the_iterator_cancels(supervise: MakeSupervisor, script: WriteScript) -> None:
    entry = script()
    supervisor = supervise(entry)
    async with aclosing(iterate(supervisor.generate("one", request("tokens 1000 0.01")))) as events:
        async for event in events:
            if isinstance(event, Delta):
                break
    await until(Path(f"{entry.path}.cancelled").exists)
    assert supervisor.n_running == 0
    assert text_of(await collect(supervisor, "one", "tokens 1 0", "next")) == "0 "


async def test_cancelled_while_loading(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script(load_s=0.5))
    waiting = asyncio.create_task(collect(supervisor, "one", "tokens 1 0"))
    await until(lambda: supervisor.find("one").state == "loading")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert supervisor.n_running == 0
    assert text_of(await collect(supervisor, "one", "tokens 1 0")) == "0 "


async def test_a_killed_worker_fails_its_own_requests_at_once(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = supervise(script("one"), script("two"))
    supervisor.start()
    await supervisor.wait_ready()
    victims = [Reader(supervisor, "one", "tokens 500 0.01", f"v{number}") for number in range(3)]
    witness = Reader(supervisor, "two", "tokens 60 0.01", "w")
    await until(lambda: all(reader.has_output() for reader in (*victims, witness)))
    first_pid = supervisor.pids["one:Q8_0"]
    killed_at = time.monotonic()
    os.kill(first_pid, signal.SIGKILL)
    for end in await asyncio.gather(*(victim.end() for victim in victims)):
        assert isinstance(end, Failure)
        assert end.kind == "server_error"
        assert end.message.startswith("The worker for model one died (SIGKILL)")
    assert time.monotonic() - killed_at < 1.0
    assert text_of(await collect(supervisor, "one", "tokens 2 0")) == "0 1 "
    assert supervisor.pids["one:Q8_0"] != first_pid
    assert isinstance(await witness.end(), Finish)
    assert not psutil.pid_exists(first_pid)


async def test_assertion_text_reaches_the_client(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script())
    supervisor.start()
    bystander = Reader(supervisor, "one", "tokens 1 30", "b")
    await until(bystander.has_started)
    with pytest.raises(WorkerDied, match=r"SIGABRT: .*GGML_ASSERT\(n > 0\)"):  # twice: it is sent again once
        await collect(supervisor, "one", "die")
    end = await bystander.end()
    assert isinstance(end, Failure)
    assert end.kind == "unavailable"  # it had no output: sending it again is safe
    assert end.retry_after_s is not None
    assert "GGML_ASSERT" in end.message


ABORTING = """
import ctypes
from models.llamacpp import library
abort = library.bind("ggml_abort", None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
abort(b"/build/ggml/src/ggml-rpc/ggml-rpc.cpp", 354, b"Remote RPC server crashed")
"""


async def test_the_reason_of_any_abort_reaches_client_and_log(
    supervise: MakeSupervisor, script: WriteScript, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = supervise(
        script(),
        command=lambda _fd: [sys.executable, "-c", ABORTING],
        policy=replace(QUICK, max_load_deaths=2),
    )
    reason = r"\(SIGABRT: llama.cpp aborted: ggml-rpc.cpp:354: Remote RPC server crashed\)"
    with pytest.raises(WorkerDied, match=reason):
        await collect(supervisor, "one", "tokens 1 0")
    assert "ggml-rpc.cpp:354: Remote RPC server crashed); trying once more" in caplog.text
    assert "AMX" not in caplog.text
    assert "kernels" not in caplog.text


async def test_a_request_the_worker_never_took_is_sent_to_the_next_one(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = supervise(script())
    assert text_of(await collect(supervisor, "one", "die_once")) == "0 "


async def test_the_request_right_after_a_kill_is_served(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = supervise(script())
    await collect(supervisor, "one", "tokens 1 0")
    for _ in range(3):
        os.kill(supervisor.pids["one:Q8_0"], signal.SIGKILL)
        assert text_of(await collect(supervisor, "one", "tokens 1 0")) == "0 "


async def test_dead_in_warm_up_is_retried_without_extra_buffers(
    supervise: MakeSupervisor, script: WriteScript, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = supervise(script(load="die_with_extra_bufts"))
    supervisor.start()
    await supervisor.wait_ready()
    info = supervisor.find("one").info
    assert info is not None
    assert info.description == "scripted without extra buffers"
    assert "AMX" in caplog.text
    assert "corral doctor" in caplog.text
    caplog.clear()
    os.kill(supervisor.pids["one:Q8_0"], signal.SIGKILL)
    assert text_of(await collect(supervisor, "one", "tokens 1 0")) == "0 "
    assert "AMX" not in caplog.text  # remembered: the restart did not try with them again


async def test_dead_in_the_matrix_kernels_is_retried_without_them_alone(
    supervise: MakeSupervisor, script: WriteScript, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = supervise(script(load="die_with_kernels"))
    supervisor.start()
    await supervisor.wait_ready()
    info = supervisor.find("one").info
    assert info is not None
    assert info.description == "scripted"
    assert "kernels off" in caplog.text
    assert "AMX" not in caplog.text


async def test_dead_in_every_load_fails_with_the_reason(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    entry = script(load="die")
    supervisor = supervise(entry)
    supervisor.start()
    with pytest.raises(WorkerDied, match=r"died while loading it \(SIGSEGV\); run `corral doctor`"):
        await supervisor.wait_ready()
    status = supervisor.find("one")
    assert status.state == "failed"
    assert status.problem is not None
    assert "SIGSEGV" in status.problem
    assert not supervisor.ready()
    assert supervisor.pids == {}
    started = time.monotonic()
    with pytest.raises(WorkerDied, match="SIGSEGV"):
        await collect(supervisor, "one", "tokens 1 0")
    assert time.monotonic() - started < 0.1  # refused at once, not tried again
    script(load="ok")
    await asyncio.sleep(QUICK.failed_retry_s)  # time itself is what must pass
    assert text_of(await collect(supervisor, "one", "tokens 1 0")) == "0 "


async def test_a_refusal_reaches_all_waiters_as_the_error_it_is(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    children = ChildProcesses()
    supervisor = supervise(script(load="refuse"))
    results = await asyncio.gather(
        *(collect(supervisor, "one", "tokens 1 0", f"r{i}") for i in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [InvalidGGUF] * 3
    assert supervisor.find("one").state == "failed"
    assert not children.alive


async def test_too_many_quick_deaths_fail_the_model(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script(), policy=replace(QUICK, max_deaths=3, failed_retry_s=30.0))
    supervisor.start()
    await supervisor.wait_ready()
    for _ in range(3):
        await until(supervisor.ready)
        os.kill(supervisor.pids["one:Q8_0"], signal.SIGKILL)
        await until(lambda: not supervisor.ready())
    await until(lambda: supervisor.find("one").state == "failed")
    with pytest.raises(WorkerDied, match="SIGKILL") as error:
        await collect(supervisor, "one", "tokens 1 0")
    assert error.value.retry_after_s is not None
    assert 3.0 < error.value.retry_after_s <= 5.0


async def test_after_many_deaths_a_further_one_costs_a_restart(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = supervise(script(), policy=replace(QUICK, max_deaths=3))
    supervisor.start()
    for _ in range(3):
        await until(supervisor.ready)
        os.kill(supervisor.pids["one:Q8_0"], signal.SIGKILL)
        await until(lambda: not supervisor.ready())
    await until(lambda: supervisor.find("one").state == "failed")
    await asyncio.sleep(QUICK.failed_retry_s)  # time itself is what must pass
    for _ in range(2):
        assert text_of(await collect(supervisor, "one", "tokens 1 0")) == "0 "
        os.kill(supervisor.pids["one:Q8_0"], signal.SIGKILL)
    assert text_of(await collect(supervisor, "one", "tokens 1 0")) == "0 "


async def test_a_failed_model_of_the_start_comes_back_without_a_request(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    policy = replace(QUICK, max_deaths=1, failed_restart_s=0.3)
    supervisor = supervise(script("one"), stored=(script("two"),), policy=policy)
    supervisor.start()
    await supervisor.wait_ready()
    await collect(supervisor, "two", "tokens 1 0")
    for key in ("two:Q8_0", "one:Q8_0"):  # the other one comes when it is asked for
        os.kill(supervisor.pids[key], signal.SIGKILL)
        await until(lambda: supervisor.find(key).state == "failed")  # noqa: B023
    await until(supervisor.ready)
    assert supervisor.find("two").state == "failed"
    assert text_of(await collect(supervisor, "two", "tokens 1 0")) == "0 "


async def test_a_stopped_worker_is_replaced_also_where_it_had_no_work(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = supervise(script(), policy=replace(QUICK, stopped_after_s=0.2))
    supervisor.start()
    await supervisor.wait_ready()
    for text in (None, "tokens 500 0.01"):
        reader = None if text is None else Reader(supervisor, "one", text, "r")
        if reader is not None:
            await until(reader.has_output)
        pid = supervisor.pids["one:Q8_0"]
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: not psutil.pid_exists(pid))  # noqa: B023
        if reader is not None:
            end = await reader.end()
            assert isinstance(end, Failure)
            assert (end.kind, end.code) == ("server_error", "worker_died")
            assert "it was stopped (SIGSTOP)" in end.message
        await until(supervisor.ready)


async def test_a_worker_that_is_stuck_in_a_step_is_replaced(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = supervise(script())
    supervisor.start()
    await supervisor.wait_ready()
    fine, stuck = Reader(supervisor, "one", "tokens 500 0.01", "fine"), None
    await until(fine.has_output)
    pid = supervisor.pids["one:Q8_0"]
    stuck = Reader(supervisor, "one", "stuck 0.3", "stuck")
    for reader, kind in ((stuck, "unavailable"), (fine, "server_error")):
        end = await reader.end()
        assert isinstance(end, Failure)
        assert (end.kind, end.code) == (kind, "worker_died")
        assert "a step of 8 tokens, which should take 10 ms, took" in end.message
    await until(lambda: not psutil.pid_exists(pid))
    assert text_of(await collect(supervisor, "one", "tokens 1 0")) == "0 "


async def test_a_step_within_its_limit_may_take_its_time(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = supervise(script(), policy=replace(QUICK, hang_after_s=None))
    supervisor.start()
    await supervisor.wait_ready()
    pid = supervisor.pids["one:Q8_0"]
    task = asyncio.create_task(collect(supervisor, "one", "stuck 600"))
    await asyncio.sleep(12 * QUICK.look_s)
    assert not task.done()
    assert supervisor.pids["one:Q8_0"] == pid
    task.cancel()


async def test_waiting_for_a_load_has_limits(supervise: MakeSupervisor, script: WriteScript) -> None:
    policy = replace(QUICK, load_wait_s=0.2, max_waiting=2)
    supervisor = supervise(script(load="hang"), policy=policy)
    waiting = [asyncio.create_task(collect(supervisor, "one", "tokens 1 0", f"r{i}")) for i in range(2)]
    await until(lambda: supervisor.n_running == 2)
    with pytest.raises(WorkerBusy, match="2 requests already wait"):
        await collect(supervisor, "one", "tokens 1 0", "third")
    for [event] in await asyncio.gather(*waiting):
        assert isinstance(event, Failure)
        assert (event.kind, event.retry_after_s) == ("unavailable", 5.0)
        assert "still loading" in event.message


async def test_a_silent_worker_is_killed(supervise: MakeSupervisor, script: WriteScript) -> None:
    supervisor = supervise(script(), policy=replace(QUICK, hang_after_s=0.3, heartbeat_s=0.05))
    supervisor.start()
    await supervisor.wait_ready()
    # It answers the heartbeat while it computes: that is no hang, however much time a request takes.
    task = asyncio.create_task(collect(supervisor, "one", "silent"))
    await asyncio.sleep(0.8)
    assert not task.done()
    # Stopped it doesn't, and neither does the one that gets the request next: two in a row are enough.
    for _ in range(2):
        await until(supervisor.ready)
        os.kill(supervisor.pids["one:Q8_0"], signal.SIGSTOP)
        await until(lambda: not supervisor.ready())
    with pytest.raises(WorkerDied, match="no sign of life"):
        await task


async def test_models_of_the_start_are_told_from_those_loaded_since(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = supervise(script("two"), stored=(script("one"), script("two", "Q4_K_M")))
    supervisor.start()
    await supervisor.wait_ready()
    for name in ("one", "two:Q4_K_M"):
        await collect(supervisor, name, "tokens 1 0")
    assert [(status.name, status.served) for status in supervisor.models()] == [
        ("two", True),
        ("one", False),
        ("two:Q4_K_M", False),
    ]


async def test_the_longest_unused_idle_model_makes_room(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    stored = (script("one"), script("two"), script("three"))
    supervisor = supervise(stored=stored, policy=replace(QUICK, max_loaded=2))
    await collect(supervisor, "one", "tokens 1 0")
    await collect(supervisor, "two", "tokens 1 0")
    await collect(supervisor, "one", "tokens 1 0")
    await collect(supervisor, "three", "tokens 1 0")
    assert sorted(supervisor.pids) == ["one:Q8_0", "three:Q8_0"]
    busy = [Reader(supervisor, name, "tokens 30 0.02", name) for name in ("one", "three")]
    await until(lambda: all(reader.has_output() for reader in busy))
    assert text_of(await collect(supervisor, "two", "tokens 1 0", "late")) == "0 "
    assert [isinstance(await reader.end(), Finish) for reader in busy] == [True, True]


async def test_memory_makes_room_too_and_never_takes_a_busy_model(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    asked = []

    async def never_fits(spec: object) -> Need:
        asked.append(spec)
        return Need(fits=False)

    stored = (script("one"), script("two"), script("three"))
    supervisor = supervise(stored=stored, memory=MemoryAdvice(never_fits))
    await collect(supervisor, "one", "tokens 1 0")
    assert asked == []  # alone, it is llama.cpp that says whether it fits
    busy = Reader(supervisor, "one", "tokens 40 0.02", "busy")
    await until(busy.has_output)
    await collect(supervisor, "two", "tokens 1 0")
    assert busy.task.done()
    assert isinstance(await busy.end(), Finish)
    assert list(supervisor.pids) == ["two:Q8_0"]
    await collect(supervisor, "three", "tokens 1 0")
    assert list(supervisor.pids) == ["three:Q8_0"]


async def test_stop_finishes_what_runs_and_leaves_no_process(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    supervisor = supervise(script())
    supervisor.start()
    running = Reader(supervisor, "one", "tokens 30 0.02")
    await until(running.has_output)
    pid = supervisor.pids["one:Q8_0"]
    stopping = asyncio.create_task(supervisor.stop(10.0))
    await until(lambda: not supervisor.ready())
    with pytest.raises(WorkerError, match="shutting down"):
        await collect(supervisor, "one", "tokens 1 0", "late")
    assert isinstance(await running.end(), Finish)
    await stopping
    assert not psutil.pid_exists(pid)  # not even a zombie
    assert not supervisor.ready()


async def test_stop_kills_what_takes_too_long(supervise: MakeSupervisor, script: WriteScript) -> None:
    children = ChildProcesses()
    supervisor = supervise(script(), policy=replace(QUICK, exit_wait_s=0.1))
    supervisor.start()
    running = Reader(supervisor, "one", "tokens 1000 0.02")
    await until(running.has_output)
    started = time.monotonic()
    await supervisor.stop(0.2)
    assert time.monotonic() - started < 3.0
    end = await running.end()
    assert isinstance(end, Failure)
    assert "it was to end, and was not done after 0 s" in end.message
    assert not children.alive


async def test_kill_ends_a_stop_that_waits(supervise: MakeSupervisor, script: WriteScript) -> None:
    children = ChildProcesses()
    supervisor = supervise(script())
    supervisor.start()
    running = Reader(supervisor, "one", "tokens 1000 0.02")
    await until(running.has_output)
    stopping = asyncio.create_task(supervisor.stop(30.0))
    await until(lambda: not supervisor.ready())
    supervisor.kill()
    await asyncio.wait_for(stopping, 3.0)
    end = await running.end()
    assert isinstance(end, Failure)
    assert "(SIGKILL: the server was stopped) in the middle" in end.message
    assert not children.alive


async def test_stop_while_loading(supervise: MakeSupervisor, script: WriteScript) -> None:
    children = ChildProcesses()
    supervisor = supervise(script(load="hang"))
    supervisor.start()
    waiting = asyncio.create_task(collect(supervisor, "one", "tokens 1 0"))
    await until(lambda: len(children.alive) == 1)
    await asyncio.wait_for(supervisor.stop(30.0), 5.0)
    with pytest.raises(WorkerError):
        await waiting
    assert not children.alive


async def test_models_lists_served_first_then_stored(supervise: MakeSupervisor, script: WriteScript) -> None:
    served = script("zebra")
    stored = (script("alpha", "Q8_0"), script("alpha", "Q4_K_M"), served)
    supervisor = supervise(served, stored=stored)
    assert [(model.name, model.type) for model in supervisor.models()] == [
        ("zebra", "Q8_0"),
        ("alpha", "Q4_K_M"),
    ]
    await collect(supervisor, "alpha:Q8_0", "tokens 1 0")
    assert supervisor.find("alpha").type == "Q8_0"  # the type that is loaded serves the plain name


OWNER = """
import asyncio, sys
from pathlib import Path
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.supervisor import Supervisor
from tests.server.supervisor.conftest import scripted_command, spec_of

async def main():
    entry = CatalogueEntry("one", Path(sys.argv[1]), "Q8_0", 1, 1)
    supervisor = Supervisor(Catalogue([entry]), spec_of, command=scripted_command)
    supervisor.start()
    await supervisor.wait_ready()
    print(supervisor.pids["one:Q8_0"], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_killed_owner_leaves_no_worker(script: WriteScript) -> None:
    entry = script()
    with subprocess.Popen([sys.executable, "-c", OWNER, str(entry.path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        worker = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
        _, alive = psutil.wait_procs([worker], timeout=5)
    assert not alive


async def test_a_defect_of_the_watch_ends_the_worker_and_the_next_one_is_watched(
    supervise: MakeSupervisor,
    script: WriteScript,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    defects = [KeyError("a defect")]
    verdict = Vigil.verdict

    def look(self: Vigil, *given: Any, **named: Any) -> str | None:
        if defects:
            raise defects.pop()
        return verdict(self, *given, **named)

    monkeypatch.setattr(Vigil, "verdict", look)
    supervisor = supervise(script())
    with contextlib.suppress(WorkerError):
        await collect(supervisor, "one", "tokens 1 0")
    await until(lambda: "can't be watched and is killed" in caplog.text)
    assert text_of(await collect(supervisor, "one", "tokens 1 0", "next")) == "0 "


async def test_a_worker_is_watched_where_its_files_use_can_not_be_noted(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    def use(_path: Path) -> Any:
        raise DiskFull("no space left on the disk")

    supervisor = supervise(script(), use=use)
    await collect(supervisor, "one", "tokens 1 0")
    [pid] = supervisor.pids.values()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: pid not in [0, *supervisor.pids.values()])
    assert text_of(await collect(supervisor, "one", "tokens 1 0", "next")) == "0 "
