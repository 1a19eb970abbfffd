"""The supervisor's patience: time-outs, restart back-off, how many models stay loaded. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from server.config import ServerConfig


@dataclass(frozen=True, slots=True)
class Policy:
    """Times in seconds. The defaults are for serving; tests shrink them."""

    load_wait_s: float = 600.0
    """How long a request waits for its model to load before it is answered 503."""
    max_waiting: int = 256
    """How many requests may wait for one model's load."""
    first_restart_delay_s: float = 0.0
    restart_delay_s: float = 1.0
    """Delay of the second restart; each further one doubles it."""
    max_restart_delay_s: float = 30.0
    stable_after_s: float = 60.0
    """A worker that lived this long after loading starts a new count of deaths."""
    max_deaths: int = 5
    """Quick deaths in a row after which a model counts as failed."""
    max_load_deaths: int = 2
    """Deaths while loading, in a row, after which a model counts as failed."""
    failed_retry_s: float = 15.0
    """A failed model answers with its reason for this long; the next request then tries again."""
    exit_wait_s: float = 2.0
    """How long a worker whose socket has closed may take to end before it is killed."""
    heartbeat_s: float = 15.0
    hang_after_s: float | None = 600.0
    """A worker with running requests that says nothing for so long is killed. None: never. One step of a
    large model on a small machine can take minutes."""
    max_loaded: int | None = None
    """How many models may be loaded at once. None: as memory allows."""

    @classmethod
    def of(cls, config: ServerConfig) -> Self:
        """The patience that the settings choose; the rest stays at its defaults."""
        return cls(
            load_wait_s=config.load_wait_s,
            max_waiting=config.queue_size + config.parallel,
            max_loaded=config.max_loaded,
        )

    def delay_s(self, n_deaths: int) -> float:
        """How long to wait before the restart that follows the `n_deaths`-th quick death (1 is the first)."""
        if n_deaths <= 1:
            return self.first_restart_delay_s
        doublings = min(n_deaths - 2, 32)
        return min(self.restart_delay_s * 2.0**doublings, self.max_restart_delay_s)
