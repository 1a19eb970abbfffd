"""`Roster`: the replicas that have a link to this API process, by deployment, and who gets a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator

from server.cluster.peers.choice import Ring, choose
from server.cluster.peers.peer import Peer
from server.supervisor.load_wait import StillLoading


class Roster:
    """Belongs to the event loop in which it is used."""

    def __init__(self) -> None:
        self._peers: dict[str, dict[str, Peer]] = {}
        """By their deployments, and by their own names."""
        self._rings: dict[str, Ring] = {}
        self._news: asyncio.Future[None] | None = None

    def __iter__(self) -> Iterator[Peer]:
        return iter([peer for peers in self._peers.values() for peer in peers.values()])

    def __contains__(self, peer: Peer) -> bool:
        return self._peers.get(peer.hello.deployment, {}).get(peer.hello.replica) is peer

    def of(self, deployment: str) -> list[Peer]:
        """Return the replicas of a deployment."""
        return list(self._peers.get(deployment, {}).values())

    def named(self, deployment: str, replica: str) -> Peer | None:
        """Return the replica of that name, if it has a link."""
        return self._peers.get(deployment, {}).get(replica)

    def add(self, peer: Peer) -> None:
        """A replica has come."""
        self._peers.setdefault(peer.hello.deployment, {})[peer.hello.replica] = peer
        self._place(peer.hello.deployment)
        self.tell_news()

    def remove(self, peer: Peer) -> None:
        """A replica has gone."""
        del self._peers[peer.hello.deployment][peer.hello.replica]
        self._place(peer.hello.deployment)

    def tell_news(self) -> None:
        """Wake those who wait for a replica: one has come, or is ready again."""
        if self._news is not None:
            self._news.set_result(None)
            self._news = None

    def choose(self, deployment: str, key: str, avoid: Collection[str] = ()) -> Peer | None:
        """Return the replica that a request of that key goes to; None: it has to wait.

        One in `avoid` gets it if no other has a place, one whose worker isn't ready if none is.
        """
        able = self._able(deployment)
        for peers in ({name: peer for name, peer in able.items() if name not in avoid}, able):
            loads = {name: peer.load for name, peer in peers.items()}
            if loads and (name := choose(self._rings[deployment], key, loads)) is not None:
                return peers[name]
        return None

    async def some(self, deployment: str, timeout_s: float) -> Peer:
        """Return the least loaded replica, full or not, once there is one. Raises StillLoading."""
        if not await self.holds(lambda: bool(self._able(deployment)), timeout_s):
            raise StillLoading(f"there has been no replica of {deployment} for {timeout_s:.0f} s; ask later")
        return min(self._able(deployment).values(), key=lambda peer: peer.load)

    async def holds(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition on the replicas holds; return False if the time has passed before."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not condition():
            if (left_s := deadline_s - loop.time()) <= 0:
                return False
            self._news = self._news or loop.create_future()
            await asyncio.wait([self._news], timeout=left_s)
        return True

    def _able(self, deployment: str) -> dict[str, Peer]:
        """Return those that take requests, and of these the ready ones if there are any."""
        peers = self._peers.get(deployment, {})
        able = {name: peer for name, peer in peers.items() if not peer.beat.is_draining}
        return {name: peer for name, peer in able.items() if peer.beat.is_ready} or able

    def _place(self, deployment: str) -> None:
        self._rings[deployment] = Ring(self._peers[deployment])
        if not self._peers[deployment]:
            del self._peers[deployment], self._rings[deployment]
