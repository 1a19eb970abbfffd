"""`/v1/files`: uploads, lists and deletions, with the official client and by hand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.server.batches.running import batch_server, begin, ended, jsonl, limits, line
from tests.server.http_client import error_of
from tests.server.scripted_service import ScriptedService, says


async def test_a_file_comes_back_as_it_was_sent(tmp_path: Path) -> None:
    content = jsonl([line(n) for n in range(500)]) + "é\r\n--boundary\n".encode()
    async with batch_server(ScriptedService(), tmp_path) as client:
        file = await client.files.create(file=("requests é.jsonl", content), purpose="batch")
        again = await client.files.retrieve(file.id)
        sent_back = (await client.files.content(file.id)).content
        listed = await client.files.list(purpose="batch")
        none = await client.files.list(purpose="batch_output")
        gone = await client.files.delete(file.id)
        with pytest.raises(openai.NotFoundError, match=file.id):
            await client.files.content(file.id)
    assert file == again
    assert (file.object, file.bytes, file.purpose, file.status) == (
        "file",
        len(content),
        "batch",
        "processed",
    )
    assert file.filename == "requests é.jsonl"
    assert file.expires_at == file.created_at + 30 * 24 * 3600
    assert sent_back == content
    assert [each.id for each in listed.data] == [file.id]
    assert not none.data
    assert gone.deleted
    assert not list((tmp_path / "files").iterdir()), "nothing of it is left"


async def test_a_client_says_how_long_a_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with batch_server(ScriptedService(), tmp_path, runs=False) as client:
        file = await client.files.create(
            file=("a.jsonl", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert file.expires_at == file.created_at + 3600
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 3601)
        assert not (await client.files.list()).data
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(file.id)
    async with batch_server(ScriptedService(), tmp_path) as client:
        done = await ended(client, await begin(client, [line(1)]))
        assert not (tmp_path / "files" / file.id).exists(), "the sweep at the start"
        assert done.status == "completed"


async def test_a_large_file_is_refused_while_it_comes(tmp_path: Path) -> None:
    async with batch_server(ScriptedService(), tmp_path, limits(file_bytes=1000)) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.files.create(file=("a.jsonl", b"x" * 100_000), purpose="batch")
        assert caught.value.status_code == 413
        assert caught.value.param == "file"
        await client.files.create(file=("a.jsonl", b"x" * 1000), purpose="batch")
    assert len(list((tmp_path / "files").iterdir())) == 1


async def test_all_files_together_have_a_limit(tmp_path: Path) -> None:
    async with batch_server(ScriptedService(), tmp_path, limits(total_bytes=1500)) as client:
        first = await client.files.create(file=("a.jsonl", b"x" * 1000), purpose="batch")
        with pytest.raises(openai.BadRequestError, match="files_bytes") as caught:
            await client.files.create(file=("b.jsonl", b"x" * 501), purpose="batch")
        assert caught.value.code == "storage_full"
        await client.files.delete(first.id)
        await client.files.create(file=("b.jsonl", b"x" * 501), purpose="batch")
    async with batch_server(ScriptedService(), tmp_path / "few", limits(n_records=1)) as client:
        await client.files.create(file=("a.jsonl", b"x"), purpose="batch")
        with pytest.raises(openai.BadRequestError, match="1 files"):
            await client.files.create(file=("b.jsonl", b"x"), purpose="batch")


async def test_the_input_of_a_batch_stays_while_that_runs(tmp_path: Path) -> None:
    async with batch_server(ScriptedService(says("Hi")), tmp_path, runs=False) as client:
        batch = await begin(client, [line(1)])
        with pytest.raises(openai.BadRequestError, match=batch.id):
            await client.files.delete(batch.input_file_id)
        await client.batches.cancel(batch.id)
    async with batch_server(ScriptedService(), tmp_path) as client:
        assert (await ended(client, batch)).status == "cancelled"
        await client.files.delete(batch.input_file_id)


def n_files(folder: Path) -> int:
    """The number of files whose content is there, whole or not."""
    return len(list(folder.glob("files/*")))


FILE = ("file", ("a.jsonl", b"{}"))


@pytest.mark.parametrize(
    ("request_body", "status", "param"),
    [
        ({"data": {"purpose": "batch"}, "files": [("other", ("a", b"x"))]}, 400, "file"),
        ({"files": [FILE]}, 400, "purpose"),
        ({"data": {"purpose": "fine-tune"}, "files": [FILE]}, 400, "purpose"),
        ({"data": {"purpose": "batch_output"}, "files": [FILE]}, 400, "purpose"),
        ({"data": {"purpose": "batch"}, "files": [FILE, FILE]}, 400, None),
        ({"data": {"purpose": "x" * 5000}, "files": [FILE]}, 400, None),
        ({"json": {"purpose": "batch"}}, 400, None),
        (
            {
                "content": b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhalf',
                "headers": {"content-type": "multipart/form-data; boundary=b"},
            },
            400,
            None,
        ),
        ({"content": b"no form", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, None),
        (
            {
                "data": {
                    "purpose": "batch",
                    "expires_after[anchor]": "created_at",
                    "expires_after[seconds]": "9",
                },
                "files": [FILE],
            },
            400,
            "expires_after.seconds",
        ),
        (
            {"data": {"purpose": "batch", "expires_after[seconds]": "3600"}, "files": [FILE]},
            400,
            "expires_after.anchor",
        ),
    ],
)
async def test_an_upload_that_cant_be(
    tmp_path: Path, request_body: dict[str, Any], status: int, param: str | None
) -> None:
    async with batch_server(ScriptedService(), tmp_path) as client, httpx.AsyncClient() as plain:
        answer = await plain.post(f"{client.base_url}files", **request_body)
    assert answer.status_code == status, answer.text
    assert error_of(answer)["param"] == param
    assert not n_files(tmp_path), "nothing of it is left"


async def test_a_name_is_only_a_name(tmp_path: Path) -> None:
    async with batch_server(ScriptedService(), tmp_path) as client:
        file = await client.files.create(file=("../../etc/passwd", b"x"), purpose="batch")
        for wrong in ("file-none", "batches.sqlite", "../batches.sqlite", f"{file.id}.part"):
            with pytest.raises(openai.NotFoundError):
                await client.files.content(wrong)
        assert (await client.files.content(file.id)).content == b"x"
    assert file.filename == "passwd"
