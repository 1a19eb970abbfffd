"""A client that goes takes its request with it, at every point of the request's life."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from server.http.disconnect import ClientGone, while_connected
from server.ipc.messages import Generate
from tests.server.http_client import CHAT, TEXT, app_for, serving
from tests.server.scripted_service import ScriptedService, Step, says

Script = Callable[[Generate], Sequence[Step]]


def stuck_after(count: int) -> Script:
    """The first `count` events, then nothing for ever."""
    return lambda request: [*says("a", "b", "c")(request)[:count], asyncio.Event()]


async def leave(service: ScriptedService, path: str, body: dict[str, Any], *, after_bytes: bool) -> None:
    """Send a request and close the connection: once something has come, or once the service is at work."""
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url) as client:

        async def ask() -> None:
            async with client.stream("POST", path, json=body, timeout=10) as response:
                async for _ in response.aiter_bytes():
                    if after_bytes:
                        return

        task = asyncio.create_task(ask())
        if after_bytes:
            await asyncio.wait_for(task, 10)
        else:
            await service.reached(1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(service.closing.wait(), 30)
        assert service.running == 0


async def test_in_the_middle_of_a_stream() -> None:
    service = ScriptedService(stuck_after(2))
    await leave(service, "/v1/chat/completions", {**CHAT, "stream": True}, after_bytes=True)
    assert service.closed == [service.request.id]


async def test_while_a_stream_waits_for_its_first_event() -> None:
    service = ScriptedService(stuck_after(0))
    await leave(service, "/v1/chat/completions", {**CHAT, "stream": True}, after_bytes=False)
    assert service.closed == [service.request.id]


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_while_a_whole_answer_is_made(count: int) -> None:
    service = ScriptedService(stuck_after(count))
    await leave(service, "/v1/chat/completions", CHAT, after_bytes=False)
    assert service.closed == [service.request.id]


@pytest.mark.parametrize("stream", [False, True])
async def test_with_several_prompts(stream: bool) -> None:
    service = ScriptedService(stuck_after(2))
    body = {**TEXT, "prompt": ["x", "y", "z"], "stream": stream}
    await leave(service, "/v1/completions", body, after_bytes=stream)
    assert len(service.closed) == 3


async def test_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="corral.access")
    await leave(ScriptedService(stuck_after(0)), "/v1/chat/completions", CHAT, after_bytes=False)
    lines = [record.getMessage() for record in caplog.records if record.name == "corral.access"]
    assert len(lines) == 1
    assert " 499 " in lines[0]
    assert lines[0].endswith("disconnected")


async def test_others_notice_nothing() -> None:
    gate = asyncio.Event()

    def script(request: Generate) -> list[Step]:
        started, delta, *rest = says("a")(request)
        return [started, delta, gate, *rest]

    service = ScriptedService(script)
    body = {**CHAT, "stream": True}
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url) as client:
        stays = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await service.reached(1)
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            await anext(response.aiter_bytes())
        await asyncio.wait_for(service.closing.wait(), 30)
        gate.set()
        assert (await stays).text.endswith("data: [DONE]\n\n")
    assert len(service.closed) == 1


# --- `while_connected` itself -------------------------------------------------------------------------------


class Client:
    """A client that stays until `leave`."""

    def __init__(self) -> None:
        self._left = asyncio.Event()
        self.is_broken = False

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> dict[str, Any]:
        await self._left.wait()
        if self.is_broken:
            raise OSError("the socket is broken")
        return {"type": "http.disconnect"}


async def forever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("ended")


async def test_the_result_comes_and_nothing_stays() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    client = Client()
    assert await while_connected(client.receive, work()) == "done"
    client.leave()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert asyncio.all_tasks() == {task}
    assert not task.cancelling()


@pytest.mark.parametrize("is_broken", [False, True])
async def test_the_work_ends_with_the_client(is_broken: bool) -> None:
    client, ended = Client(), list[str]()
    client.is_broken = is_broken
    asyncio.get_running_loop().call_soon(client.leave)
    with pytest.raises(ClientGone):
        await while_connected(client.receive, forever(ended))
    assert ended == ["ended"]
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


@pytest.mark.parametrize("error", [None, ValueError("other")])
async def test_whatever_the_work_makes_of_it(error: Exception | None) -> None:
    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if error is not None:
                raise error from None
        return "late"

    client = Client()
    asyncio.get_running_loop().call_soon(client.leave)
    with pytest.raises(ClientGone):
        await while_connected(client.receive, work())
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_task_that_is_cancelled_stays_so(leaves: bool) -> None:
    client, ended = Client(), list[str]()
    task = asyncio.create_task(while_connected(client.receive, forever(ended)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if leaves:
        client.leave()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["ended"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await while_connected(Client().receive, work())
