"""`/v1/files` and `/v1/batches` over the whole HTTP side, with the official client."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from models.errors import WorkerBusy
from server.batches import job
from server.batches.store import BatchStore
from server.engine.request import IDLE_PRIORITY
from server.ipc.messages import Generate
from server.keys.caller import NO_LIMITS, KeyLimits
from server.keys.key_file import KeyFile
from server.keys.key_ring import KeyRing
from server.keys.limits import RateLimits
from server.usage.accounts import Accounts
from server.usage.ledger import UsageLedger
from tests.server.batches.running import (
    LIMITS,
    batch_server,
    begin,
    ended,
    jsonl,
    limits,
    line,
    n_completed,
    none_active,
    results,
)
from tests.server.http_client import error_of
from tests.server.scripted_service import ScriptedService, Step, says


async def test_a_batch_of_chats(tmp_path: Path) -> None:
    service = ScriptedService()
    async with batch_server(service, tmp_path, request_timeout_s=60.0) as client:
        batch = await begin(client, [line(n) for n in range(20)])
        assert batch.status == "validating"
        assert batch.expires_at is not None
        assert batch.expires_at - batch.created_at == 24 * 3600
        batch = await ended(client, batch)
        answers = await results(client, batch.output_file_id)
    assert (batch.status, batch.errors, batch.error_file_id) == ("completed", None, None)
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 20, "completed": 20, "failed": 0}
    assert batch.in_progress_at is not None
    assert batch.finalizing_at is not None
    assert batch.completed_at is not None
    assert answers.keys() == {f"request-{n}" for n in range(20)}
    for answer in answers.values():
        assert answer["id"].startswith("batch_req_")
        assert answer["error"] is None
        assert answer["response"]["status_code"] == 200
        assert answer["response"]["request_id"].startswith("req_")
        chat = openai.types.chat.ChatCompletion.model_validate(answer["response"]["body"])
        assert chat.choices[0].message.content == "Hello world"
    assert {request.priority for _, request in service.requests} == {IDLE_PRIORITY}
    assert {request.timeout_s for _, request in service.requests} == {None}, "it may wait for idle times"


@pytest.mark.parametrize(
    ("endpoint", "body", "kind"),
    [
        ("/v1/completions", {"prompt": "Hi"}, "text_completion"),
        ("/v1/responses", {"input": "Hi"}, "response"),
        ("/v1/chat/completions", {}, "chat.completion"),
    ],
)
async def test_each_endpoint(tmp_path: Path, endpoint: str, body: dict[str, Any], kind: str) -> None:
    async with batch_server(ScriptedService(), tmp_path) as client:
        batch = await ended(client, await begin(client, [line(1, endpoint, **body)], endpoint))
        answers = await results(client, batch.output_file_id)
    assert answers["request-1"]["response"]["body"]["object"] == kind


async def test_lines_that_fail_are_in_the_file_of_errors(tmp_path: Path) -> None:
    async with batch_server(ScriptedService(), tmp_path) as client:
        lines = [line(1), line(2, temperature=-1), line(3, messages=[])]
        batch = await ended(client, await begin(client, lines))
        answers, errors = (
            await results(client, batch.output_file_id),
            await results(client, batch.error_file_id),
        )
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 3, "completed": 1, "failed": 2}
    assert answers.keys() == {"request-1"}
    assert errors.keys() == {"request-2", "request-3"}
    response = errors["request-2"]["response"]
    assert response["status_code"] == 400
    assert response["body"]["error"]["param"] == "temperature"


async def test_what_is_wrong_with_the_lines_is_told_with_their_numbers(tmp_path: Path) -> None:
    wrong = [
        (b"{nonsense", "invalid_json_line", None),
        (b"[1]", "invalid_json_line", None),
        (b'"\xff"', "invalid_json_line", None),
        (b'{"body": ' + b"[" * 9_000 + b"]" * 9_000 + b"}", "invalid_json_line", None),
        (jsonl([{**line(1), "custom_id": None}]), "missing_required_parameter", "custom_id"),
        (jsonl([{**line(1), "custom_id": 7}]), "invalid_custom_id", "custom_id"),
        (jsonl([{**line(1), "method": "GET"}]), "invalid_method", "method"),
        (jsonl([{**line(1), "url": "/v1/completions"}]), "invalid_url", "url"),
        (jsonl([{**line(1), "body": "Hi"}]), "invalid_body", "body"),
        (jsonl([{k: v for k, v in line(1).items() if k != "body"}]), "invalid_body", "body"),
        (jsonl([line(1, stream=True)]), "invalid_value", "body.stream"),
        (jsonl([line(0)]), "duplicate_custom_id", "custom_id"),
        (jsonl([line(99, model="nobody/nothing")]), "model_not_found", "body.model"),
    ]
    content = jsonl([line(0)]) + b"\r\n" + b"".join(raw.rstrip() + b"\n" for raw, _, _ in wrong)
    service = ScriptedService()
    async with batch_server(service, tmp_path) as client:
        batch = await ended(client, await begin(client, content))
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.errors is not None
    told = [(error.line, error.code, error.param) for error in batch.errors.data or []]
    assert told == [(number, code, param) for number, (_, code, param) in enumerate(wrong, start=3)]
    assert not service.requests, "nothing of it is run"


async def test_an_empty_file_fails(tmp_path: Path) -> None:
    async with batch_server(ScriptedService(), tmp_path) as client:
        batch = await ended(client, await begin(client, b"\n \n"))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [error.code for error in batch.errors.data or []] == ["empty_file"]


async def test_a_batch_that_always_meets_a_defect_is_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.batches.runner.AGAIN_S", 0.0)
    monkeypatch.setattr("server.batches.runner.POLL_S", 0.01)
    opened: list[str] = []

    def read_input(path: Path, *_: object) -> None:
        opened.append(path.name)
        raise AssertionError("a defect")

    monkeypatch.setattr(job, "read_input", read_input)
    async with batch_server(ScriptedService(), tmp_path) as client:
        batch = await ended(client, await begin(client, [line(1)]))
    assert (batch.status, len(opened)) == ("failed", 3)
    assert batch.errors is not None
    assert [error.code for error in batch.errors.data or []] == ["server_error"]


async def test_a_long_line_is_named_and_the_next_one_read(tmp_path: Path) -> None:
    long = line(1)
    long["body"]["messages"][0]["content"] = "x" * 5000
    async with batch_server(ScriptedService(), tmp_path, body_limit_bytes=4096) as client:
        batch = await ended(client, await begin(client, jsonl([long]) + b"{\n"))
    assert batch.errors is not None
    told = [(error.line, error.code) for error in batch.errors.data or []]
    assert told == [(1, "line_too_long"), (2, "invalid_json_line")]


async def test_several_lines_at_once_and_no_more_than_may(tmp_path: Path) -> None:
    def slow(request: Generate) -> list[Step]:
        return [0.02, *says("Hi")(request)]

    service = ScriptedService(slow)
    async with batch_server(service, tmp_path, batch_parallel=3) as client:
        first = await begin(client, [line(n) for n in range(15)])
        second = await begin(client, [line(n) for n in range(15)])
        assert (await ended(client, first)).status == "completed"
        assert (await ended(client, second)).status == "completed"
    assert service.most_running == 3


async def test_a_cancelled_batch_keeps_what_it_has(tmp_path: Path) -> None:
    gate = asyncio.Event()

    def first_ones(request: Generate) -> list[Step]:
        if len(service.requests) <= 5:
            return list(says("Hi")(request))
        return [gate, *says("Hi")(request)]

    service = ScriptedService(first_ones)
    async with batch_server(service, tmp_path, batch_parallel=2) as client:
        batch = await begin(client, [line(n) for n in range(50)])
        await n_completed(client, batch, 5)
        cancelling = await client.batches.cancel(batch.id)
        assert cancelling.status in ("cancelling", "cancelled")
        batch = await ended(client, batch)
        answers, errors = (
            await results(client, batch.output_file_id),
            await results(client, batch.error_file_id),
        )
        gate.set()
        done = await ended(client, await begin(client, [line(1)]))
        with pytest.raises(openai.BadRequestError, match="Cannot cancel a batch with status 'completed'"):
            await client.batches.cancel(done.id)
    assert batch.status == "cancelled"
    assert batch.cancelling_at is not None
    assert batch.cancelled_at is not None
    assert len(answers) == 5
    assert len(errors) == 45
    assert {error["error"]["code"] for error in errors.values()} == {"batch_cancelled"}
    assert {error["response"] is None for error in errors.values()} == {True}
    assert service.running == 0
    assert len(service.closed) == 2, "lines in work are ended"


async def test_a_batch_expires(tmp_path: Path) -> None:
    async with batch_server(ScriptedService(lambda request: [60.0]), tmp_path) as client:
        batch = await ended(client, await begin(client, [line(1), line(2)], window="1s"))
        errors = await results(client, batch.error_file_id)
    assert batch.status == "expired"
    assert batch.expired_at is not None
    assert batch.output_file_id is None
    assert {error["error"]["code"] for error in errors.values()} == {"batch_expired"}


async def test_lines_wait_where_the_server_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(job, "LONGEST_PAUSE_S", 0.02)

    def busy(request: Generate) -> list[Step]:
        if len(service.requests) < 12:
            return [WorkerBusy("the queue is full", retry_after_s=1)]
        return list(says("Hi")(request))

    service = ScriptedService(busy)
    async with batch_server(service, tmp_path, batch_parallel=2) as client:
        batch = await ended(client, await begin(client, [line(1), line(2)]))
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 2, "completed": 2, "failed": 0}


async def test_a_full_disk_is_a_failed_batch_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, n_written = os.write, 0

    def full(fd: int, data: Any) -> int:
        nonlocal n_written
        if Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(tmp_path / "files"):
            n_written += len(data)
            if n_written > 3000:
                real(fd, bytes(data)[:40])
                raise OSError(28, "No space left on device")
        return real(fd, data)

    async with batch_server(ScriptedService(), tmp_path, batch_parallel=1) as client:
        file = await client.files.create(
            file=("a.jsonl", jsonl([line(n) for n in range(9)])), purpose="batch"
        )
        monkeypatch.setattr(os, "write", full)
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        batch = await ended(client, batch)
        answers = await results(client, batch.output_file_id)
    assert batch.status == "failed"
    assert batch.errors is not None
    (error,) = batch.errors.data or []
    assert error.code == "storage_failed"
    assert "the disk of this server is full" in (error.message or "")
    assert str(tmp_path) not in (error.message or "")
    assert batch.request_counts is not None
    assert batch.request_counts.completed == len(answers) > 0


async def test_results_beyond_the_limit_of_all_files_fail_the_batch(tmp_path: Path) -> None:
    service = ScriptedService(says("x" * 4000))
    async with batch_server(service, tmp_path, limits(total_bytes=20_000), batch_parallel=1) as client:
        batch = await ended(client, await begin(client, [line(n) for n in range(9)]))
        answers = await results(client, batch.output_file_id)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert "files_bytes" in ((batch.errors.data or [])[0].message or "")
    assert 0 < len(answers) < 9


async def test_nobody_sees_anothers(tmp_path: Path) -> None:
    async with batch_server(
        ScriptedService(), tmp_path, key="one", api_keys=["one", "two"], runs=True
    ) as mine:
        theirs = mine.with_options(api_key="two")
        batch = await ended(mine, await begin(mine, [line(1)]))
        assert batch.output_file_id is not None
        for file_id in (batch.input_file_id, batch.output_file_id):
            for call in (theirs.files.retrieve, theirs.files.content, theirs.files.delete):
                with pytest.raises(openai.NotFoundError):
                    await call(file_id)
        for seen in (theirs.batches.retrieve, theirs.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                await seen(batch.id)
        with pytest.raises(openai.NotFoundError, match=batch.input_file_id):
            await theirs.batches.create(
                input_file_id=batch.input_file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
            )
        assert (await theirs.files.list()).data == []
        assert (await theirs.batches.list()).data == []
        assert {file.purpose for file in (await mine.files.list()).data} == {"batch", "batch_output"}
        assert [each.id for each in (await mine.batches.list()).data] == [batch.id]


async def test_a_batch_whose_key_is_removed_keeps_what_it_has_and_ends(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    secret = file.add("bob", ("infer",), ("*",), NO_LIMITS, None)[1]
    removed = asyncio.Event()

    def script(request: Generate) -> list[Step]:
        if len(service.requests) == 3:
            file.remove("bob")
            removed.set()
        return list(says("Hi")(request))

    service = ScriptedService(script)
    accounts = Accounts(KeyRing(["admin"], file), UsageLedger(tmp_path / "usage.sqlite"))
    folder = tmp_path / "b"
    async with batch_server(service, folder, key=secret, accounts=accounts, batch_parallel=1) as client:
        batch = await begin(client, [line(n) for n in range(6)])
        await removed.wait()
        await none_active(tmp_path / "b")
        [entry] = await accounts.usage.totals(["key"])
    accounts.usage.close()
    assert len(service.requests) == 3
    assert (entry.key, entry.requests) == ("bob", 3)
    store = BatchStore(tmp_path / "b", LIMITS)
    [record] = await store.batches(service.requests[0][1].owner)
    store.close()
    assert (record.status, record.counts.completed, record.counts.failed) == ("failed", 3, 3)
    assert [error.code for error in record.errors] == ["invalid_api_key"]
    assert record.id == batch.id


async def test_a_batch_waits_for_what_its_keys_limits_leave_and_counts_as_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 requests per minute the upload and the batch are two, and half is left to those who wait."""
    monkeypatch.setattr(job, "LONGEST_PAUSE_S", 0.02)
    now = [100.0]
    file = KeyFile(tmp_path / "keys.json")
    secret = file.add("bob", ("infer",), ("*",), KeyLimits(requests_per_minute=20, streams=1), None)[1]
    accounts = Accounts(KeyRing((), file), UsageLedger(tmp_path / "usage.sqlite"), RateLimits(lambda: now[0]))
    service = ScriptedService(says("Hi", prompt_tokens=7))
    async with batch_server(service, tmp_path / "b", key=secret, accounts=accounts) as client:
        await begin(client, [line(n) for n in range(12)])
        async with asyncio.timeout(60):
            while len(service.requests) < 8:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for _ in range(10):
            answer = client.chat.completions.create(
                model="demo", messages=[{"role": "user", "content": "Hi"}]
            )
            assert (await answer).usage is not None
        with pytest.raises(openai.RateLimitError, match="20 requests per minute"):
            await client.files.list()
        assert len(service.requests) == 18
        async with asyncio.timeout(60):
            while len(service.requests) < 22:
                now[0] += 10.0
                await asyncio.sleep(0.02)
        await none_active(tmp_path / "b")
        [entry] = await accounts.usage.totals(["key"])
    accounts.usage.close()
    assert (entry.key, entry.requests, entry.prompt_tokens) == ("bob", 22, 22 * 7)
    assert {request.owner for _, request in service.requests} == {service.requests[0][1].owner} - {""}


async def test_models_that_a_key_may_not_use_are_refused_alike_whether_they_are_here(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    secret = file.add("bob", ("infer",), ("org/*",), NO_LIMITS, None)[1]
    service = ScriptedService()
    accounts = Accounts(KeyRing((), file))
    async with batch_server(service, tmp_path / "b", key=secret, accounts=accounts) as client:
        lines = [line(n, model=model) for n, model in enumerate(("demo", "other", "org/none"))]
        batch = await ended(client, await begin(client, lines))
    assert batch.errors is not None
    codes = [(error.line, error.code) for error in batch.errors.data or []]
    assert codes == [(1, "model_not_allowed"), (2, "model_not_allowed"), (3, "model_not_found")]
    assert not service.requests


async def test_a_prompt_that_no_limit_lets_through_is_an_error_of_its_line(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    secret = file.add("bob", ("infer",), ("*",), KeyLimits(tokens_per_minute=50), None)[1]
    service = ScriptedService(says("Hi", prompt_tokens=51))
    accounts = Accounts(KeyRing((), file))
    async with batch_server(service, tmp_path / "b", key=secret, accounts=accounts) as client:
        batch = await ended(client, await begin(client, [line(1)]))
        errors = await results(client, batch.error_file_id)
    assert errors["request-1"]["response"]["status_code"] == 429


async def test_a_key_that_is_gone_answers_no_more_lines(tmp_path: Path) -> None:
    async with batch_server(ScriptedService(), tmp_path, key="one", api_keys=["one"], runs=False) as client:
        batch = await begin(client, [line(1)])
    service = ScriptedService()
    async with batch_server(service, tmp_path, key="two", api_keys=["two"]) as client:
        await none_active(tmp_path)
    async with batch_server(service, tmp_path, key="one", api_keys=["one"]) as client:
        batch = await ended(client, batch)
        errors = await results(client, batch.error_file_id)
    assert not service.requests
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [error.code for error in batch.errors.data or []] == ["invalid_api_key"]
    assert errors["request-1"]["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"endpoint": "/v1/images"}, 400, "endpoint"),
        ({"endpoint": "/v1/chat/completions/"}, 400, "endpoint"),
        ({"completion_window": "soon"}, 400, "completion_window"),
        ({"completion_window": "0h"}, 400, "completion_window"),
        ({"completion_window": "31d"}, 400, "completion_window"),
        ({"completion_window": 24}, 400, "completion_window"),
        ({"input_file_id": "file-none"}, 404, "input_file_id"),
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata.a"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
            400,
            "output_expires_after.seconds",
        ),
    ],
)
async def test_a_request_for_a_batch_that_cant_be(
    tmp_path: Path, body: dict[str, Any], status: int, param: str
) -> None:
    async with batch_server(ScriptedService(), tmp_path) as client:
        file = await client.files.create(file=("a.jsonl", jsonl([line(1)])), purpose="batch")
        whole = {
            "input_file_id": file.id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            **body,
        }
        answer = await post(client, "/batches", json=whole)
    assert answer.status_code == status, answer.text
    assert error_of(answer)["param"] == param


async def post(client: openai.AsyncOpenAI, path: str, **content: Any) -> httpx.Response:
    async with httpx.AsyncClient() as plain:
        return await plain.post(f"{str(client.base_url).rstrip('/')}{path}", **content)


async def test_batches_come_in_pages(tmp_path: Path) -> None:
    async with batch_server(ScriptedService(), tmp_path) as client:
        begun = [await begin(client, [line(1)]) for _ in range(5)]
        listed = [batch.id async for batch in client.batches.list(limit=2)]
        page = await client.batches.list(limit=2)
        with pytest.raises(openai.BadRequestError, match="in this list"):
            await client.batches.list(after="batch_none")
    assert listed == [batch.id for batch in reversed(begun)]
    assert page.has_more


async def test_without_a_store_there_is_nothing() -> None:
    from tests.server.http_client import client_for

    async with client_for() as client:
        answer = await client.get("/v1/files")
        assert answer.status_code == 404
        assert "batches is false" in error_of(answer)["message"]
        assert (await client.get("/v1/batches/batch_1")).status_code == 404


async def test_metadata_and_settings_come_back(tmp_path: Path) -> None:
    async with batch_server(ScriptedService(), tmp_path) as client:
        file = await client.files.create(file=("a.jsonl", jsonl([line(1)])), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"who": "me"},
            output_expires_after={"anchor": "created_at", "seconds": 3600},
        )
        batch = await ended(client, batch)
        assert batch.output_file_id is not None
        output = await client.files.retrieve(batch.output_file_id)
    assert batch.metadata == {"who": "me"}
    assert output.filename == f"{batch.id}_output.jsonl"
    assert output.purpose == "batch_output"
    assert output.expires_at is not None
    assert output.expires_at - output.created_at == 3600
    assert json.loads(batch.to_json())["object"] == "batch"


@pytest.mark.parametrize("defect", [OSError(30, "Read-only file system"), KeyError("a defect")])
async def test_batches_go_on_after_the_runner_has_met_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: Exception
) -> None:
    errors, sweep = [defect], BatchStore.sweep

    async def failing(store: BatchStore) -> None:
        if errors:
            raise errors.pop()
        await sweep(store)

    monkeypatch.setattr(BatchStore, "sweep", failing)
    monkeypatch.setattr("server.batches.runner.POLL_S", 0.02)
    async with batch_server(ScriptedService(), tmp_path) as client:
        batch = await ended(client, await begin(client, [line(1)]))
    assert not errors
    assert batch.status == "completed"
