"""Streams have the same bytes by whatever way they leave, and end with their client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.types import Message

from models.errors import WorkerBusy, WorkerDied, WorkerError
from server.engine.events import Delta, Failure
from server.http import stream_writer
from server.http.stream_writer import StreamWriter
from server.ipc.messages import Generate
from server.openai.chunks import ChunkEncoder
from server.openai.errors import RequestFailed
from server.openai.requests.answer_options import AnswerOptions
from tests.server.http_client import CHAT, TEXT, app_for, client_for, events_of, serving
from tests.server.openai.answers import delta, heading
from tests.server.scripted_service import ScriptedService, Step, says


def without_id(event: Any) -> Any:
    return {**event, "id": None, "created": None} if isinstance(event, dict) else event


@pytest.mark.parametrize(
    "body",
    [
        CHAT,
        {**CHAT, "n": 2},
        TEXT,
        {**TEXT, "stream_options": {"include_usage": True}},
        {**TEXT, "echo": True, "logprobs": 1},
        {**TEXT, "prompt": ["x", "y", "z"]},
    ],
)
async def test_past_uvicorns_send_and_through_any_other_the_stream_is_the_same(body: dict[str, Any]) -> None:
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    app = app_for(ScriptedService(says("He", 'l"\n', "", "lo é", "\u2028")))
    streams = []
    async with serving(app) as url:
        for client in (
            httpx.AsyncClient(base_url=url),
            httpx.AsyncClient(base_url="http://corral", transport=httpx.ASGITransport(app=app)),
        ):
            async with client:
                response = await client.post(path, json={**body, "stream": True})
            assert response.headers["x-request-id"]
            streams.append([without_id(event) for event in events_of(response.text)])
    assert streams[0] == streams[1]
    assert streams[0][-1] == "[DONE]"


async def test_a_failure_ends_the_stream() -> None:
    def script(request: Generate) -> list[Step]:
        failure = Failure(id=request.id, kind="server_error", message="it died")
        return [*says("a", "b")(request)[:2], failure]

    async with client_for(ScriptedService(script)) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    last = events_of(response.text)[-1]
    assert last["error"]["message"] == "it died"


async def test_silence_is_filled_with_comments() -> None:
    def script(request: Generate) -> list[Step]:
        started, delta, *rest = says("a")(request)
        return [started, delta, 0.3, *rest]

    async with client_for(ScriptedService(script), sse_comment_s=0.05) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert 2 <= response.text.count(": keep-alive\n") <= 6
    assert ": keep-alive\n\n" not in response.text  # an empty line would end an event that has no data
    assert events_of(response.text)[-1] == "[DONE]"


async def test_a_stream_that_waits_long_begins_with_a_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_writer, "HEADERS_AFTER_S", 0.05)
    service = ScriptedService(lambda request: [0.3, *says("a")(request)])
    async with client_for(service) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert response.text.startswith(": keep-alive\ndata: ")
    assert events_of(response.text)[-1] == "[DONE]"


@pytest.mark.parametrize("error", [WorkerBusy("full", 2.0), WorkerDied("it died")])
async def test_an_error_after_the_headers_is_an_event(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_writer, "HEADERS_AFTER_S", 0.05)
    async with client_for(ScriptedService(lambda _: [0.3, error])) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        whole = await client.post("/v1/chat/completions", json=CHAT)
    assert response.status_code == 200
    [event] = events_of(response.text)
    assert event["error"]["message"] == str(error)
    assert event["error"]["code"]
    assert whole.status_code >= 400  # an answer that is no stream still waits for its status


@pytest.mark.parametrize("after_text", [False, True])
async def test_a_defect_after_the_headers_is_an_event_that_tells_nothing(
    after_text: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream_writer, "HEADERS_AFTER_S", 0.05)

    def script(request: Generate) -> list[Step]:
        return [*(says("a")(request)[:2] if after_text else []), 0.3, RuntimeError("secret detail")]

    async with client_for(ScriptedService(script)) as client:
        response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    error = events_of(response.text)[-1]["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert response.headers["x-request-id"] in error["message"]
    assert "secret" not in response.text
    assert "secret detail" in caplog.text


async def test_a_client_that_goes_before_the_first_event_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_writer, "HEADERS_AFTER_S", 0.02)
    service = ScriptedService(lambda _: [asyncio.Event()])
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url) as client:
        async with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
            assert await anext(response.aiter_bytes()) == b": keep-alive\n"
        await asyncio.wait_for(service.closing.wait(), 30)
    assert service.closed == [service.request.id]


async def test_a_client_that_goes_cancels() -> None:
    service = ScriptedService(lambda request: [*says("a")(request)[:2], asyncio.Event()])
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url) as client:
        async with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
            await anext(response.aiter_bytes())
        await asyncio.wait_for(service.closing.wait(), 30)
    assert service.closed == [service.request.id]


async def test_a_client_that_reads_slowly_gets_everything_and_stalls_nobody() -> None:
    n_deltas, text = 3000, "x" * 5000

    def script(request: Generate) -> list[Step]:
        first, *_, end, finish = says("")(request)
        if request.n == 1:
            return [first, Delta(id=request.id, index=0, text="short"), end, finish]
        deltas: list[Step] = [Delta(id=request.id, index=0, text=f"{i} {text}") for i in range(n_deltas)]
        return [first, *deltas, Delta(id=request.id, index=0, text="made"), *says("")(request)[-3:]]

    service = ScriptedService(script)
    async with serving(app_for(service)) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        body = {**TEXT, "n": 2, "stream": True}
        async with client.stream("POST", "/v1/completions", json=body) as slow:
            while service.running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # all of it is made, though nobody reads
            other = await client.post("/v1/completions", json=TEXT)
            assert other.json()["choices"][0]["text"] == "short"
            answer = (await slow.aread()).decode()
    events = events_of(answer)
    texts = [event["choices"][0]["text"] for event in events[:-1] if event["choices"][0]["index"] == 0]
    assert [t.partition(" ")[0] for t in texts[:n_deltas]] == [str(i) for i in range(n_deltas)]
    assert events[-1] == "[DONE]"


async def test_an_error_of_the_servers_own_send_ends_the_request() -> None:
    service = ScriptedService(lambda request: [*says("a", "b")(request)[:3], asyncio.Event()])
    app = app_for(service)
    body = json.dumps({**CHAT, "stream": True}).encode()
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and b'"content":"b"' in message["body"]:
            raise WorkerError("the server's send failed")

    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "root_path": "", "scheme": "http",
        "http_version": "1.1", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    await asyncio.wait_for(app(scope, incoming.get, send), 30)
    assert service.closed == [service.request.id]


# --- the writer by itself -----------------------------------------------------------------------------------


def never() -> asyncio.Future[None]:
    """Return the going of a client that stays."""
    return asyncio.get_running_loop().create_future()


class Sink:
    """A server's `send`: waits while `room` is clear; `broken` is raised after that."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self.broken: Exception | None = None
        self.parts: list[bytes] = []
        self.ended = False

    async def send(self, message: Message) -> None:
        await self.room.wait()
        if self.broken is not None:
            raise self.broken
        self.parts.append(message["body"])
        self.ended = not message["more_body"]

    def write(self, part: bytes) -> bool:
        """The direct way."""
        if self.room.is_set():
            self.parts.append(part)
        return self.room.is_set()

    @property
    def texts(self) -> list[str]:
        """The text of the chunks in each part."""
        parts = [events_of(part.decode()) for part in self.parts if part]
        return ["".join(event["choices"][0]["text"] for event in events) for events in parts]


def writer(sink: Sink, *, direct: bool) -> StreamWriter:
    encoder = ChunkEncoder(heading("text"), AnswerOptions())
    return StreamWriter(encoder, sink.write if direct else None, comment_s=60)


async def test_a_part_is_written_in_the_call_that_makes_it() -> None:
    sink = Sink()
    stream = writer(sink, direct=True)
    stream.open(sink.send)
    for number, text in enumerate("abc"):
        stream.on_event(delta(text))
        assert len(sink.parts) == number + 1
    await stream.close(b"z", never())
    assert sink.parts[3:] == [b"z"]
    assert sink.ended


async def test_no_reader_of_lines_ends_one_within_an_event() -> None:
    text = "a\x85b\u2028c\u2029d \u201ce\u201d \u2014 \x1c \u00c5"
    sink = Sink()
    stream = writer(sink, direct=True)
    stream.open(sink.send)
    stream.on_event(delta(text))
    await stream.close('data: "\u2028"\n\n'.encode(), never())
    lines = b"".join(sink.parts).decode().splitlines()  # as httpx's iter_lines does
    first, last = (json.loads(line.removeprefix("data: ")) for line in lines if line)
    assert first["choices"][0]["text"] == text
    assert last == "\u2028"


@pytest.mark.parametrize("direct", [False, True])
async def test_nothing_leaves_before_it_is_opened(direct: bool) -> None:
    sink = Sink()
    stream = writer(sink, direct=direct)
    assert not stream.begun.done()
    for text in "ab":
        stream.on_event(delta(text))
    assert stream.begun.done()
    await asyncio.sleep(0)
    assert sink.parts == []
    stream.open(sink.send)
    await stream.drained()
    assert "".join(sink.texts) == "ab"
    stream.abandon()


@pytest.mark.parametrize("direct", [False, True])
async def test_what_is_made_while_it_waits_leaves_together_and_in_order(direct: bool) -> None:
    sink = Sink()
    stream = writer(sink, direct=direct)
    stream.open(sink.send)
    sink.room.clear()
    stream.on_event(delta("a"))
    await asyncio.sleep(0)
    for text in "bc":
        stream.on_event(delta(text))
    drained = asyncio.create_task(stream.drained())
    await asyncio.sleep(0.01)
    assert sink.parts == []
    assert not drained.done()
    sink.room.set()
    await asyncio.wait_for(drained, 5)
    assert sink.texts == ["a", "bc"]
    stream.on_event(delta("d"))
    ending = asyncio.create_task(stream.close(b"", never()))
    await asyncio.wait_for(ending, 5)
    assert sink.texts == ["a", "bc", "d"]
    assert sink.ended


async def test_the_last_part_isnt_waited_for_when_the_client_goes() -> None:
    sink = Sink()
    stream = writer(sink, direct=False)
    stream.open(sink.send)
    sink.room.clear()
    gone = never()
    ending = asyncio.create_task(stream.close(b"z", gone))
    await asyncio.sleep(0.01)
    assert not ending.done()
    gone.set_result(None)
    assert not await asyncio.wait_for(ending, 5)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError("no more")])
async def test_a_receive_that_fails_ends_the_stream_and_its_source(error: BaseException) -> None:
    ended = asyncio.Event()

    class Endless:
        async def subscribe(self, listener: Any) -> None:
            listener.on_event(delta("a"))
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    async def receive() -> Message:
        raise error

    async def send(_: Message) -> None:
        pass

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}
    encoder = ChunkEncoder(heading("text"), AnswerOptions())
    response = await stream_writer.EventStream.begin(Endless(), encoder, scope, comment_s=60.0)
    await asyncio.wait_for(response(scope, receive, send), 5)
    assert ended.is_set()


async def test_an_error_of_send_is_kept_for_the_response() -> None:
    sink = Sink()
    stream = writer(sink, direct=False)
    stream.open(sink.send)
    sink.broken = OSError("gone")
    stream.on_event(delta("a"))
    with pytest.raises(OSError, match="gone"):
        await asyncio.wait_for(stream.broken, 5)
    with pytest.raises(OSError, match="gone"):
        await stream.close(b"z", never())


async def test_a_failure_is_raised_to_whoever_brings_it() -> None:
    stream = writer(Sink(), direct=False)
    with pytest.raises(RequestFailed):
        stream.on_event(Failure(id="x", kind="server_error", message="m"))
    assert not stream.begun.done()
    stream.abandon()


@pytest.mark.parametrize("failing", [False, True])
async def test_abandoned_it_waits_no_more_and_complains_of_nothing(failing: bool) -> None:
    sink = Sink()
    stream = writer(sink, direct=False)
    stream.open(sink.send)
    sink.room.clear()
    stream.on_event(delta("a"))
    if failing:
        sink.broken = OSError("gone")
        sink.room.set()
        await asyncio.sleep(0.01)
    stream.abandon()
    await asyncio.sleep(0.01)
    assert sink.parts == []
