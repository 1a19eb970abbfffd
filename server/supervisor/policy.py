"""`Policy`: the supervisor's time-outs, restart back-off and number of loaded models. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from server.supervisor.life import LifeSettings

if TYPE_CHECKING:
    from server.config import ServerConfig


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of the supervisor, times in seconds. The defaults are for serving; tests shrink them."""

    load_wait_s: float = 600.0
    """A request waits this long for its model to load before it is answered 503."""
    max_waiting: int = 256
    """This many requests may wait for one model's load."""
    first_restart_delay_s: float = 0.0
    """The first restart waits so long."""
    restart_delay_s: float = 1.0
    """The second restart has this delay; each further one doubles it."""
    max_restart_delay_s: float = 30.0
    """No restart waits longer than this."""
    stable_after_s: float = 60.0
    """A worker that lived this long after loading starts a new count of deaths; in a part of this time, the
    same part of `max_deaths` is forgotten."""
    max_deaths: int = 5
    """A model counts as failed after this many quick deaths in a row. A request starts it again, after a
    rest; the count begins anew then."""
    death_rest_s: float = 5.0
    """A model that failed by its deaths rests for so long, or for `failed_retry_s` if that is shorter."""
    max_load_deaths: int = 3
    """A model counts as failed after this many deaths in a row while loading: as it is, without Corral's
    matrix kernels, without llama.cpp's extra buffer types; see `safer_spec`."""
    failed_retry_s: float = 15.0
    """A failed model answers with its reason for so long; the next request then tries again."""
    failed_restart_s: float = 30.0
    """A failed model of the start that was ready before is started again after this time, without a request:
    where a load balancer looks at `/ready`, none would come."""
    server_retry_s: float = 2.0
    """Servers of other machines that are away are asked again at this interval, at first sooner."""
    exit_wait_s: float = 2.0
    """A worker whose socket has closed may take this long to end before it is killed."""
    heartbeat_s: float = 5.0
    """A worker with work gets a `Stats` request at this interval."""
    look_s: float = 1.0
    """The state of a worker's process and its step are looked at, at this interval."""
    stopped_after_s: float = 10.0
    """A worker process that is stopped (SIGSTOP), with or without work, is killed after this time. One that
    computes for long isn't stopped, and neither is one in a debugger."""
    hang_after_s: float | None = 600.0
    """A worker with work that sends nothing for so long is killed. None: never. A step that takes too long by
    the worker's own account (`server.engine.patience`) is noticed sooner."""
    max_loaded: int | None = None
    """This many models may be loaded at once. None: as many as memory allows."""
    turn_s: float = 10.0
    """A model for which there is no room waits so long for others that are busy; then those that it needs
    take no new requests before they are gone."""
    lives: LifeSettings = field(default_factory=LifeSettings)
    """The time that models stay loaded, which are pinned, and which go first."""
    preload: tuple[str, ...] = ()
    """These models are loaded at the start, without anybody who waits for them."""

    @classmethod
    def of(cls, config: ServerConfig) -> Self:
        """The patience that the settings choose; the rest stays at its defaults."""
        return cls(
            load_wait_s=config.load_wait_s,
            max_waiting=config.queue_size + config.parallel,
            max_loaded=config.max_loaded,
            lives=config.lives,
            preload=tuple(config.preload),
        )

    def delay_s(self, n_deaths: int) -> float:
        """Return the seconds to wait before the restart after the `n_deaths`-th quick death (from 1)."""
        if n_deaths <= 1:
            return self.first_restart_delay_s
        doublings = min(n_deaths - 2, 32)
        return min(self.restart_delay_s * 2.0**doublings, self.max_restart_delay_s)
