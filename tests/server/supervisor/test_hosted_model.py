"""A model's life where a start fails before there is a worker; whole lives are in `test_supervisor`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models.errors import RpcServerError, WorkerError
from server.ipc.model_spec import ModelSpec
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.hosted_model import HostedModel, Hosting
from server.supervisor.policy import Policy
from server.supervisor.process.dispatcher import OnProgress
from server.supervisor.process.worker_process import WorkerProcess


class Starts:
    """A `spawn` that fails each time, and counts."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.n = 0

    async def spawn(self, _spec: ModelSpec, _on_progress: OnProgress) -> WorkerProcess:
        self.n += 1
        raise self.error


class Space:
    """There is room."""

    async def make(self, host: HostedModel) -> None:
        host.take_room()

    def look_again(self) -> None:
        pass


def model_of(starts: Starts, policy: Policy) -> HostedModel:
    entry = CatalogueEntry(name="one", path=Path("one.gguf"), type="Q8_0", size_bytes=1, created=1)
    return HostedModel(entry, ModelSpec(name="one", path="one.gguf"), Hosting(policy, starts.spawn, Space()))


async def test_an_error_of_our_own_fails_the_model_and_is_logged_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    starts = Starts(ZeroDivisionError("oops"))
    model = model_of(starts, Policy())
    with pytest.raises(ZeroDivisionError):
        await model.worker()
    assert (model.state, model.loaded) == ("failed", False)
    assert model.status().problem == "the model one can't be loaded: ZeroDivisionError('oops'); see the log"
    assert any(record.exc_info for record in caplog.records)
    with pytest.raises(WorkerError, match="see the log"):
        await model.worker()
    assert starts.n == 1, "the reason is known: it isn't tried again at once"


async def test_a_failed_model_is_tried_again_after_a_while() -> None:
    starts = Starts(ZeroDivisionError("oops"))
    model = model_of(starts, Policy(failed_retry_s=0.0))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await model.worker()
    assert starts.n == 2


async def test_a_server_that_was_never_there_is_the_loads_own_error_and_asked_again_soon() -> None:
    starts = Starts(RpcServerError("the server 127.0.0.1:1 can't be reached"))
    model = model_of(starts, Policy(server_retry_s=0.1))
    for _ in range(2):
        with pytest.raises(RpcServerError, match="can't be reached"):
            await model.worker()
    assert (model.state, starts.n) == ("failed", 1)
    await asyncio.sleep(0.15)
    with pytest.raises(RpcServerError, match="can't be reached"):
        await model.worker()
    assert starts.n == 2
