"""`Room`: the models that wait for memory, served in turn; others are unloaded for the first of them.

Idle ones go, never one that answers. Where all are busy, the first waits; when its turn is over, those that
it needs take no new requests (these wait behind it), finish what runs, and go. So models that swap take
turns, and one that was just loaded serves what has waited for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from models.errors import WorkerError
from server.supervisor.eviction import victims
from server.supervisor.hosted_model import UNLOAD_GRACE_S, HostedModel
from server.supervisor.memory_check import Need
from server.supervisor.policy import Policy

logger = logging.getLogger("corral.supervisor")

LOOK_AGAIN_S = 1.0
"""A model that waits for room looks again at this interval: other programs give memory back, too."""

NeedOf = Callable[[HostedModel], Awaitable[Need]]
"""A `NeedOf` returns what a model would take that isn't loaded."""


class Room:
    """A `RoomKeeper` for one event loop. `hosts` returns all models, loaded or not."""

    def __init__(
        self,
        policy: Policy,
        hosts: Callable[[], Collection[HostedModel]],
        need_of: NeedOf,
    ) -> None:
        self._policy = policy
        self._hosts = hosts
        self._need_of = need_of
        self._turn = asyncio.Lock()
        """Held by the first that waits; the others come in the order in which they asked."""
        self._news = asyncio.Event()

    def look_again(self) -> None:
        """Look again: a model has become idle, was unloaded, or its wishes have changed."""
        self._news.set()

    async def make(self, host: HostedModel) -> None:
        """Return once `host` may load. Raises WorkerError where pinned models fill the number of loaded ones.

        Where only pinned models are left and memory is short, its worker is to say what it can do with it.
        """
        async with self._turn:
            held: set[HostedModel] = set()
            try:
                await self._clear(host, held)
                host.take_room()
            finally:
                for other in held:
                    other.attendance.release()

    async def _clear(self, host: HostedModel, held: set[HostedModel]) -> None:
        began_s = asyncio.get_running_loop().time()
        while True:
            self._news.clear()
            others = [other for other in self._hosts() if other is not host and other.loaded]
            shortage_bytes = await self._shortage(host, others)
            if shortage_bytes <= 0:
                return
            movable = [other for other in others if not other.life.pinned]
            idle = [other for other in movable if not other.busy]
            if idle:
                await self._unload(_chosen(idle, shortage_bytes), host)
                continue
            if not movable:
                if self._is_full(others):
                    raise WorkerError(
                        f"{host.entry.name} can't be loaded: {len(others)} models are loaded, which is the"
                        " limit (--max-loaded), and all are pinned; unpin one, or raise the limit"
                    )
                return
            left_s = began_s + self._policy.turn_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                for other in _chosen(movable, shortage_bytes):
                    if other not in held:
                        held.add(other)
                        other.attendance.hold()
            await self._wait(LOOK_AGAIN_S if left_s <= 0 else min(left_s, LOOK_AGAIN_S))

    async def _shortage(self, host: HostedModel, others: list[HostedModel]) -> int:
        """Return the bytes that are missing, 1 if only a place is."""
        if not others:
            return 0
        if self._is_full(others):
            return 1
        for other in others:
            if other.is_loading and not other.file.needed_bytes:  # it was alone when it got its room
                other.file.needed_bytes = (await self._need_of(other)).needed_bytes
        while True:
            loading = [other for other in others if other.is_loading]
            reserved_bytes = sum(other.reserved_bytes for other in others)
            need = await self._need_of(host)
            if loading == [other for other in others if other.is_loading]:
                break  # else what was reserved has been taken while the free memory was measured
        host.file.needed_bytes = need.needed_bytes
        return need.shortage_bytes(reserved_bytes)

    def _is_full(self, others: list[HostedModel]) -> bool:
        return self._policy.max_loaded is not None and len(others) >= self._policy.max_loaded

    async def _unload(self, going: list[HostedModel], host: HostedModel) -> None:
        for other in going:
            if not other.busy:  # while the one before it ended, a request may have come
                logger.info("unloading %s to make room for %s", other.entry.key, host.entry.key)
                await other.stop(UNLOAD_GRACE_S)

    async def _wait(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._news.wait(), timeout_s)
        except TimeoutError:
            return


def _chosen(hosts: list[HostedModel], shortage_bytes: int) -> list[HostedModel]:
    """Return those of the models that are to go."""
    by_key = {host.entry.key: host for host in hosts}
    return [by_key[key] for key in victims([host.tenant() for host in hosts], shortage_bytes)]
