"""`Reloads`: each part by itself, one run at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from models.errors import ConfigError
from server.reload import Reload, Reloaded, Reloads


def part(*changes: str, error: ConfigError | None = None) -> Reload:
    async def reload() -> Sequence[str]:
        if error is not None:
            raise error
        return changes

    return reload


async def test_each_part_says_what_it_changed_and_a_bad_one_keeps_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = ConfigError("line 3: what is this")
    reloads = Reloads()
    for name, reload in (("first", part("a is new")), ("bad", part(error=bad)), ("last", part())):
        reloads.add(name, reload)
    assert not reloads.is_empty
    with caplog.at_level("INFO", "corral.serve"):
        outcomes = await reloads.run()
    assert outcomes == [Reloaded("first", ("a is new",)), Reloaded("bad", error=bad), Reloaded("last")]
    assert [record.getMessage() for record in caplog.records] == [
        "first: a is new",
        "bad: nothing was changed: line 3: what is this",
        "last: read again, nothing has changed",
    ]


async def test_two_runs_never_overlap() -> None:
    running, most = 0, 0

    async def reload() -> Sequence[str]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return ()

    reloads = Reloads()
    reloads.add("part", reload)
    await asyncio.gather(*(reloads.run() for _ in range(5)))
    assert most == 1


def test_there_may_be_nothing_to_read() -> None:
    assert Reloads().is_empty
