"""`FailureHistory`: one model's deaths and refusals, and how long they keep it from starting.

`HostedModel` has the model's state; the history is what outlasts a start.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from models.errors import CorralError, RpcServerError, WorkerDied
from server.ipc.model_spec import ModelSpec
from server.supervisor.policy import Policy

logger = logging.getLogger("corral.supervisor")


class FailureHistory:
    """The counts of one model's deaths, and its latest failure. Only the methods below change them.

    `problem` is the latest failure's message for people, None once the model has been ready again.
    """

    def __init__(self, policy: Policy, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.problem: str | None = None
        self._policy = policy
        self._clock_s = clock_s
        self._n_deaths = 0
        self._n_load_deaths = 0
        self._ready_s = 0.0
        self._failure: CorralError | None = None
        self._retry_s = 0.0
        """No request tries again before this time of the clock."""

    @property
    def has_died(self) -> bool:
        """True if the next start is one after a death, and has a delay."""
        return self._n_deaths > 0

    @property
    def delay_s(self) -> float:
        """The seconds to wait before the next start. After a failure the wait is over already."""
        return 0.0 if self._failure is not None else self._policy.delay_s(self._n_deaths)

    @property
    def too_many_deaths(self) -> bool:
        """True if so many quick deaths came in a row that the model counts as failed."""
        return self._n_deaths >= self._policy.max_deaths

    @property
    def n_load_deaths(self) -> int:
        """The deaths in this load."""
        return self._n_load_deaths

    @property
    def too_many_load_deaths(self) -> bool:
        """True if so many deaths came in one load that the model counts as failed."""
        return self._n_load_deaths >= self._policy.max_load_deaths

    def raise_recent_failure(self) -> None:
        """Raise the error that the model failed with, until it may be tried again."""
        wait_s = self._retry_s - self._clock_s()
        if self._failure is None or wait_s <= 0:
            return
        if isinstance(self._failure, WorkerDied):
            raise WorkerDied(self._failure.message, retry_after_s=wait_s)
        raise self._failure.with_traceback(None)

    def record_load(self) -> None:
        """Begin a load, which may start a worker several times."""
        self._n_load_deaths = 0

    def record_ready(self) -> None:
        """The model is loaded. Deaths are forgotten as it lives on, and at once if it had failed by them."""
        self._ready_s = self._clock_s()
        if self._failure is not None:
            self._n_deaths = 0
        self.problem = self._failure = None
        self._n_load_deaths = 0

    def record_load_death(self, error: WorkerDied) -> None:
        """Count a death before the model was ready."""
        self._n_load_deaths += 1
        self._n_deaths += 1
        self.problem = error.message

    def record_absence(self, error: RpcServerError) -> None:
        """Show that the next start waits for a server of another machine; that is no death."""
        self.problem = error.message

    def record_death(self, error: WorkerDied) -> None:
        """Count a death after the model was ready."""
        lived_s = self._clock_s() - self._ready_s
        forgotten = int(lived_s * self._policy.max_deaths / self._policy.stable_after_s)
        self._n_deaths = max(0, self._n_deaths - forgotten) + 1
        self.problem = error.message

    def record_failure(self, failure: CorralError) -> None:
        """Keep the error after which no start follows by itself.

        After too many deaths one attempt is left, after a refusal all of them.
        """
        rest_s = self._policy.failed_retry_s
        if self.too_many_deaths and self._n_load_deaths == 0:
            rest_s = min(rest_s, self._policy.death_rest_s)  # it can be loaded: that is worth a try soon
        if isinstance(failure, RpcServerError):  # to ask once more takes a moment
            rest_s = min(rest_s, self._policy.server_retry_s)
        self._failure, self._retry_s = failure, self._clock_s() + rest_s
        self.problem = failure.public
        self._n_deaths = self._policy.max_deaths - 1 if self.too_many_deaths else 0

    def clear_problem(self) -> None:
        """Drop what is shown of an unloaded model; what counts towards its deaths stays."""
        self.problem = None


def safer_spec(spec: ModelSpec, error: WorkerDied, n_deaths: int = 1) -> ModelSpec:
    """Return the spec to load with after `error`: without what may crash in some builds or on some GPUs.

    The matrix kernels go first, then llama.cpp's extra buffer types; who asked for the kernels keeps both.
    What is killed has not crashed: the first time nothing is changed, then all goes that needs memory. Where
    another machine failed, nothing of this one's build is to blame.
    """
    options = spec.options
    if error.is_remote:
        logger.warning("%s; trying once more", error.message)
        return spec
    if error.is_killed and n_deaths == 1:
        logger.warning("%s; trying once more", error.message)
        return spec
    if error.is_killed and options.use_extra_bufts and options.kernels == "auto":
        logger.warning(
            "%s; trying once more with kernels and use_extra_bufts off: weights stay in the file's pages"
            " (slower)",
            error.message,
        )
        return _without_kernels(spec, error, use_extra_bufts=False)
    if options.use_extra_bufts and options.kernels == "auto":
        logger.warning(
            "%s; trying once more with kernels off (llama.cpp's own: slower). If that helps, Corral's matrix"
            " kernels crash here: `corral doctor` tests them",
            error.message,
        )
        return _without_kernels(spec, error, use_extra_bufts=True)
    if options.kernels == "on":
        logger.warning(
            "%s; trying once more, with Corral's matrix kernels as kernels is on. If they crash, set it to"
            " auto or off",
            error.message,
        )
        return msgspec.structs.replace(spec, options=replace(options, device_sampling="off"))
    if not options.use_extra_bufts:
        logger.warning("%s; trying once more", error.message)
        return spec
    logger.warning(
        "%s; trying once more with use_extra_bufts off (no AMX, no repacked weights: slower). If that"
        " helps, llama.cpp's build has AMX code that crashes: `corral doctor` says how to rebuild it",
        error.message,
    )
    safer = replace(options, use_extra_bufts=False, device_sampling="off")
    return msgspec.structs.replace(spec, options=safer)


def last_death(spec: ModelSpec, error: WorkerDied) -> WorkerDied:
    """Return the error of a load that is given up; it names the kernels if they were kept as asked for."""
    if spec.options.kernels != "on" or error.is_killed or error.is_remote:
        return error
    return WorkerDied(
        f"{error.message}. kernels is on; set to auto, the model is loaded without them where they crash"
    )


def _without_kernels(spec: ModelSpec, error: WorkerDied, *, use_extra_bufts: bool) -> ModelSpec:
    options = replace(spec.options, kernels="off", use_extra_bufts=use_extra_bufts)
    return msgspec.structs.replace(spec, options=options, kernels_death=_without_hint(error.message))


def _without_hint(message: str) -> str:
    """Return a death's message without its advice, which is for those who have tried nothing else."""
    how, is_cut, _hint = message.partition("); ")
    return f"{how})" if is_cut else message
