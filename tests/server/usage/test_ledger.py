from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path

import msgspec
import pytest

from models.errors import RequestError
from server.usage.database import UsageDatabase, first_day_kept
from server.usage.entry import UsageEntry
from server.usage.ledger import UsageLedger

ENTRY = UsageEntry(
    day="2026-01-31", owner="key_1", key="bob", model="demo", requests=1, prompt_tokens=7, cached_tokens=3,
    completion_tokens=2, seconds=0.5,
)  # fmt: skip


def other(**values: object) -> UsageEntry:
    return msgspec.structs.replace(ENTRY, **values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage" / "usage.sqlite"


async def test_what_was_added_is_in_the_file(path: Path) -> None:
    ledger = UsageLedger(path)
    await ledger.add(ENTRY)
    with sqlite3.connect(path) as file:  # another process sees it, without any end of this one
        assert file.execute("SELECT key, model, completion_tokens FROM usage").fetchall() == [
            ("bob", "demo", 2)
        ]
    file.close()
    ledger.close()


async def test_many_at_once_are_all_counted(path: Path) -> None:
    ledger = UsageLedger(path)
    await asyncio.gather(*(ledger.add(ENTRY) for _ in range(500)))
    [total] = await ledger.totals()
    assert (total.requests, total.prompt_tokens, total.completion_tokens, total.seconds) == (
        500,
        3500,
        1000,
        250,
    )
    ledger.close()


async def test_sums_by_what_is_wanted(path: Path) -> None:
    ledger = UsageLedger(path)
    for entry in (
        ENTRY,
        other(model="org/big", errors=1),
        other(owner="key_2", key="eve"),
        other(day="2026-02-01"),
    ):
        await ledger.add(entry)
    assert len(await ledger.totals()) == 4
    assert [(each.owner, each.key, each.requests) for each in await ledger.totals(["key"])] == [
        ("key_1", "bob", 3),
        ("key_2", "eve", 1),
    ]
    by_model = await ledger.totals(["model"])
    assert [(each.model, each.requests, each.errors) for each in by_model] == [
        ("demo", 3, 0),
        ("org/big", 1, 1),
    ]
    assert [each.day for each in await ledger.totals(["day"], since="2026-02-01")] == ["2026-02-01"]
    assert [each.requests for each in await ledger.totals([])] == [4]
    assert [each.key for each in await ledger.totals(["key"], owner="key_2")] == ["eve"]
    assert await ledger.totals([], since="2027-01-01") == []
    ledger.close()


async def test_a_file_that_cannot_be_written_is_no_error_of_the_request(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.write_text("in the way")
    ledger = UsageLedger(path)
    with caplog.at_level(logging.WARNING):
        await ledger.add(ENTRY)
    assert "waits to be counted" in caplog.text
    path.parent.unlink()
    await ledger.add(ENTRY)
    assert [each.requests for each in await ledger.totals()] == [2]
    ledger.close()


async def test_a_ledger_that_is_off(path: Path) -> None:
    ledger = UsageLedger.off()
    await ledger.add(ENTRY)
    with pytest.raises(RequestError, match="usage is false"):
        await ledger.totals()
    ledger.close()
    assert not path.exists()  # noqa: ASYNC240


async def test_days_long_ago_go_when_the_file_is_opened(path: Path) -> None:
    ledger = UsageLedger(path, lambda: 0.0)
    await ledger.add(ENTRY)
    await ledger.add(other(day="2022-01-01"))
    ledger.close()
    now = 1_769_817_600.0  # 2026-01-31
    assert first_day_kept(now) == "2023-01-27"
    ledger = UsageLedger(path, lambda: now)
    assert [each.day for each in await ledger.totals()] == ["2026-01-31"]
    ledger.close()


def test_all_entries_or_none(path: Path) -> None:
    database = UsageDatabase(path)
    with pytest.raises(Exception, match="NOT NULL"):
        database.add([ENTRY, other(prompt_tokens=None)])
    assert database.totals() == []
    database.close()


async def test_a_defect_costs_its_entries_and_no_later_ones(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = UsageLedger(path)
    ledger._quick.close()
    with monkeypatch.context() as patch:
        patch.setattr(UsageDatabase, "add", None)  # a call of it is a TypeError
        ledger.add_soon(ENTRY)
        await ledger.flushed()
    assert "the usage of 1 requests isn't counted" in caplog.text
    ledger.add_soon(ENTRY)
    await ledger.flushed()
    [total] = await ledger.totals()
    assert total.requests == 1
    ledger.close()
