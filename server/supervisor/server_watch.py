"""`ServerWatch`: waits until servers of other machines, which compute layers, answer again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from models.errors import RpcServerError
from models.rpc.address import ServerAddress
from models.rpc.probe import probe_all
from server.supervisor.policy import Policy

logger = logging.getLogger("corral.supervisor")

FIRST_RETRY_S = 0.5
"""They are asked again after so long; each further wait doubles, up to the policy's."""

Ask = Callable[[Sequence[ServerAddress]], object]


class ServerWatch:
    """The servers of one model. It belongs to the event loop.

    It asks them only while no worker of the model has them.
    """

    def __init__(self, policy: Policy, ask: Ask = probe_all) -> None:
        self._policy = policy
        self._ask = ask
        self._away: RpcServerError | None = None

    def raise_if_away(self) -> None:
        """Raise the latest error of servers that are waited for, with the time after which to come back."""
        if self._away is not None:
            raise RpcServerError(self._away.message, retry_after_s=self._policy.server_retry_s)

    async def ask(self, addresses: Sequence[str]) -> RpcServerError | None:
        """Return the error of a server that can't be used now, None if all can, or there are none."""
        if not addresses:
            return None
        try:
            await asyncio.to_thread(self._ask, [ServerAddress.parse(text) for text in addresses])
        except RpcServerError as error:
            return error
        return None

    async def answer(self, addresses: Sequence[str], error: RpcServerError) -> None:
        """Return once all the servers answer; `error` is what one of them was found to be."""
        wait_s = min(FIRST_RETRY_S, self._policy.server_retry_s)
        away: RpcServerError | None = error
        try:
            while away is not None:
                if self._away is None or away.message != self._away.message:
                    logger.warning("%s; waiting for it", away.message)
                self._away = away
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, self._policy.server_retry_s)
                away = await self.ask(addresses)
        finally:
            self._away = None
        logger.info("the servers %s answer again", ", ".join(addresses))
