from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from models.errors import RpcServerError
from models.rpc.address import ServerAddress
from server.supervisor.policy import Policy
from server.supervisor.server_watch import ServerWatch

SERVERS = ("127.0.0.1:1", "127.0.0.1:2")


class Servers:
    """Servers that are away for a number of questions."""

    def __init__(self, n_away: int) -> None:
        self.n_away = n_away
        self.asked: list[str] = []

    def ask(self, addresses: Sequence[ServerAddress]) -> None:
        self.asked.append(",".join(map(str, addresses)))
        if len(self.asked) <= self.n_away:
            raise RpcServerError(f"away for the {len(self.asked)}. time")


async def test_requests_are_told_until_all_servers_answer() -> None:
    servers = Servers(3)
    watch = ServerWatch(Policy(server_retry_s=0.01), servers.ask)
    watch.raise_if_away()
    waiting = asyncio.create_task(watch.answer(SERVERS, RpcServerError("one is gone")))
    await asyncio.sleep(0)
    with pytest.raises(RpcServerError, match="one is gone") as error:
        watch.raise_if_away()
    assert error.value.retry_after_s == 0.01
    await asyncio.wait_for(waiting, 10)
    watch.raise_if_away()
    assert servers.asked == [",".join(SERVERS)] * 4


async def test_who_gives_up_leaves_nothing_behind() -> None:
    watch = ServerWatch(Policy(), Servers(99).ask)
    waiting = asyncio.create_task(watch.answer(SERVERS, RpcServerError("one is gone")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    watch.raise_if_away()


async def test_without_servers_nobody_is_asked() -> None:
    servers = Servers(99)
    assert await ServerWatch(Policy(), servers.ask).ask(()) is None
    assert servers.asked == []
    assert await ServerWatch(Policy(), servers.ask).ask(SERVERS) is not None
