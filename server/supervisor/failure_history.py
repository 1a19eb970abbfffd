"""What went wrong with one model: its workers' deaths and refusals, and how long they keep it from starting.

The model's state is `HostedModel`'s; here is what it remembers between two starts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from models.errors import CorralError, WorkerDied, WorkerError
from server.ipc.model_spec import ModelSpec
from server.supervisor.policy import Policy

logger = logging.getLogger("corral.supervisor")


class Troubles:
    """`problem`: the latest one, for people; None once the model has been ready again."""

    def __init__(self, name: str, policy: Policy, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.problem: str | None = None
        self._name = name
        self._policy = policy
        self._clock_s = clock_s
        self._n_deaths = 0
        self._ready_s = 0.0
        self._failure: CorralError | None = None
        self._failed_s = 0.0

    @property
    def has_died(self) -> bool:
        """Whether the next start is one after a death, and has a delay."""
        return self._n_deaths > 0

    @property
    def delay_s(self) -> float:
        """How long to wait before the next start."""
        return self._policy.delay_s(self._n_deaths)

    @property
    def too_many(self) -> bool:
        """Whether so many quick deaths came in a row that the model counts as failed."""
        return self._n_deaths >= self._policy.max_deaths

    def ready(self) -> None:
        """It is loaded. Deaths are forgotten only when it lives for some time."""
        self._ready_s = self._clock_s()
        self.problem = self._failure = None

    def died_loading(self, error: WorkerDied) -> None:
        self._n_deaths += 1
        self.problem = error.message

    def died(self, error: WorkerDied) -> None:
        """It was ready before."""
        stable = self._clock_s() - self._ready_s >= self._policy.stable_after_s
        self._n_deaths = 1 if stable else self._n_deaths + 1
        self.problem = error.message

    def failed(self, error: BaseException, key: str) -> None:
        """No start follows by itself; logged under `key`. After quick deaths one attempt is left, after a
        refusal all of them."""
        if isinstance(error, CorralError):
            failure = error
        else:
            failure = WorkerError(f"the model {self._name} can't be loaded: {error!r}; see the log")
            logger.error("loading %s failed", key, exc_info=error)
        self._failure, self._failed_s = failure, self._clock_s()
        self.problem = failure.message
        self._n_deaths = self._policy.max_deaths - 1 if self.too_many else 0
        logger.error("%s failed: %s", key, self.problem)

    def raise_recent(self) -> None:
        """Raises what the model failed with, until `failed_retry_s` have passed."""
        recent = self._clock_s() - self._failed_s < self._policy.failed_retry_s
        if self._failure is not None and recent:
            raise self._failure.with_traceback(None)

    def forget(self) -> None:
        """It was unloaded: what is shown of it is gone, what counts towards its deaths is not."""
        self.problem = None


def gentler(spec: ModelSpec, error: WorkerDied) -> ModelSpec:
    """How to load it after `error` while loading: without what crashes in some builds or on some GPUs."""
    if not spec.options.use_extra_bufts:
        logger.warning("%s; trying once more", error.message)
        return spec
    logger.warning(
        "%s; trying once more with use_extra_bufts off (no AMX, no repacked weights: slower). If that"
        " helps, llama.cpp's build has AMX code that crashes: `corral doctor` says how to rebuild it",
        error.message,
    )
    options = replace(spec.options, use_extra_bufts=False, device_sampling="off")
    return msgspec.structs.replace(spec, options=options)
