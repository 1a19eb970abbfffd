"""`LoadWait`: how many requests wait for one model's load, how long, and what the others are answered."""

from __future__ import annotations

import asyncio

from models.errors import WorkerBusy, WorkerError
from server.supervisor.attendance import Attendance
from server.supervisor.policy import Policy
from server.supervisor.process.worker_process import WorkerProcess


class StillLoading(WorkerError):
    """The model is still loading and the request has waited long enough; retry in `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LoadWait:
    """The requests that wait for the model `name`, counted in its `attendance`."""

    def __init__(self, name: str, attendance: Attendance, policy: Policy) -> None:
        self._name = name
        self._attendance = attendance
        self._policy = policy

    async def admitted(self) -> None:
        """Return once nothing holds new requests back. Raises StillLoading and WorkerBusy."""
        self.check()
        try:
            await self._attendance.admitted(self._policy.load_wait_s)
        except TimeoutError as error:
            raise self._still_loading() from error

    async def over(self, ending: asyncio.Task[None]) -> None:
        """Return once a worker's end has been dealt with. Raises StillLoading.

        One that waits for a driver or a disk ends when that answers.
        """
        _, late = await asyncio.wait([ending], timeout=self._policy.load_wait_s)
        if late:
            raise self._still_loading()

    async def loaded(self, loading: asyncio.Task[WorkerProcess]) -> WorkerProcess:
        """Return the worker that `loading` brings up; the load goes on if the request is cancelled.

        Raises StillLoading, WorkerError if the model was unloaded meanwhile, and the load's own error.
        """
        try:
            with self._attendance.loading():
                return await asyncio.wait_for(asyncio.shield(loading), self._policy.load_wait_s)
        except TimeoutError as error:
            raise self._still_loading() from error
        except asyncio.CancelledError:
            if loading.cancelled():  # the model was unloaded meanwhile, this request was not cancelled
                raise WorkerError(
                    f"the model {self._name} was unloaded while it was loading; send the request again"
                ) from None
            raise

    def check(self) -> None:
        """Raise WorkerBusy if as many requests wait as may."""
        n_waiting = self._attendance.n_waiting
        if n_waiting >= self._policy.max_waiting:
            raise WorkerBusy(
                f"{n_waiting} requests already wait for {self._name} to load, which is the limit;"
                f" send this one again later",
                retry_after_s=5.0,
            )

    def _still_loading(self) -> StillLoading:
        """Return the error of a request that has waited for long enough."""
        return StillLoading(
            f"the model {self._name} is still loading after {self._policy.load_wait_s:.0f} s;"
            f" send the request again later"
        )
