"""`AppParts`: what an application works with beside its settings and models."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.batches.store import BatchStore
from server.jobs.table import JobTable
from server.pages.store import ChatStore
from server.responses.store import ResponseStore
from server.supervisor.adapters.service import AdapterService
from server.supervisor.lives import ModelLives
from server.usage.accounts import Accounts


@dataclass(frozen=True, kw_only=True)
class AppParts:
    """Everything that one may have and another may lack; by default it has none of it.

    Whoever makes the parts also runs and closes them.
    """

    adapters: AdapterService | None = None
    """The LoRA adapters; None: there are none, and none can be loaded."""
    responses: ResponseStore = field(default_factory=ResponseStore.off)
    """The kept answers."""
    chats: ChatStore = field(default_factory=ChatStore.off)
    """The web page's chats."""
    lives: ModelLives | None = None
    """The models' lives, for administrators; None where nobody manages them."""
    jobs: JobTable | None = None
    """The long jobs of this server; None where it runs none."""
    batches: BatchStore = field(default_factory=BatchStore.off)
    """The files and batches."""
    accounts: Accounts | None = None
    """The keys that are known, and the usage so far; None: the settings' keys, and nothing is counted."""

    async def stop_jobs(self) -> None:
        """End the long jobs."""
        if self.jobs is not None:
            await self.jobs.stop()

    async def close(self) -> None:
        """Close what is kept, once no request runs any more."""
        self.chats.close()
        self.responses.close()
        self.batches.close()
        if self.accounts is not None:
            await self.accounts.usage.flushed()
            self.accounts.usage.close()
