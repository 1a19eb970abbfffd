"""Connections on a real socket: waits for clients have an end, and what is no request has an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from server.http.connection import MAX_TRAILERS, ConnectionLimits
from tests.server.http_client import CHAT, TEXT, app_for, serving
from tests.server.scripted_service import ScriptedService, Step, says

LIMITS = ConnectionLimits(head_s=0.3, body_s=0.3, bytes_per_s=1000, read_s=0.3)
PATIENCE_S = 30.0
"""What is certain to come may take so long on a busy machine."""
SLOW = ConnectionLimits(head_s=60, body_s=60, bytes_per_s=10, read_s=60)
"""For a clock that is put ahead, so that what the machine takes itself is next to nothing."""
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = json.dumps(CHAT).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(BODY)
CHUNKED = b"POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Connection:
    """A client's connection, by bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, Any]:
        """The status and the JSON body of one answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        return int(head.split()[1]), json.loads(
            await asyncio.wait_for(self.reader.readexactly(length), PATIENCE_S)
        )

    async def refusal(self) -> tuple[int, str]:
        """The status and the code of an error, after which the connection ends."""
        status, body = await self.answer()
        assert await self.rest() == b""
        return status, body["error"]["code"]

    async def rest(self) -> bytes:
        """All that comes until the server closes the connection."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE_S)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


class ClockAhead:
    """The clock of the running loop, which can be put ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._by_s = 0.0
        loop = asyncio.get_running_loop()
        measure = loop.time
        monkeypatch.setattr(loop, "time", lambda: measure() + self._by_s)

    async def by(self, seconds: float) -> None:
        """Let what was sent arrive, then put the clock ahead and let what is due happen."""
        await asyncio.sleep(0.01)
        self._by_s += seconds
        await asyncio.sleep(0.01)


@pytest.fixture
async def ahead(monkeypatch: pytest.MonkeyPatch) -> ClockAhead:
    return ClockAhead(monkeypatch)


@pytest.mark.parametrize(
    "begin", [b"G", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"\r\n"]
)
@pytest.mark.parametrize("after_a_request", [False, True])
async def test_half_a_head_is_not_waited_for(begin: bytes, after_a_request: bool) -> None:
    async with serving(app_for(), LIMITS) as url, connected(url) as client:
        if after_a_request:
            client.send(GET)
            assert (await client.answer())[0] == 200
        client.send(begin)
        assert await client.refusal() == (408, "request_timeout")


async def test_a_connection_that_asks_nothing_is_closed_without_a_word() -> None:
    async with serving(app_for(), LIMITS) as url, connected(url) as client:
        assert await client.rest() == b""


async def test_a_head_byte_by_byte_has_the_same_end() -> None:
    async with serving(app_for(), LIMITS) as url, connected(url) as client:
        client.send(b"GET / HTTP/1.1\r\n")

        async def drip() -> None:
            while True:
                client.send(b"a")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        assert await client.refusal() == (408, "request_timeout")
        dripping.cancel()


@pytest.mark.parametrize("part", [b"\r\n", b"\r\n" + BODY[:-1]])
async def test_half_a_body_is_not_waited_for(part: bytes) -> None:
    service = ScriptedService()
    async with serving(app_for(service), LIMITS) as url, connected(url) as client:
        client.send(POST + part)
        assert await client.refusal() == (408, "request_timeout")
    assert service.requests == []


async def test_half_a_body_that_was_refused_is_not_waited_for_either() -> None:
    async with serving(app_for(api_keys=("k",)), LIMITS) as url, connected(url) as client:
        client.send(POST + b"\r\n" + BODY[:-1])
        assert (await client.answer())[0] == 401
        assert b"408" in await client.rest()


async def test_an_answer_before_the_bodys_end_reaches_a_client_that_wants_the_connection_closed() -> None:
    """Python's urllib, and proxies that speak HTTP/1.0: the system would reset the connection."""
    n_bytes = 40_000_000
    async with serving(app_for(), LIMITS) as url:
        for version in (b"1.0", b"1.1\r\nConnection: close"):
            async with connected(url) as client:
                client.send(
                    b"POST /tokenize HTTP/%b\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (version, n_bytes)
                )
                for _ in range(n_bytes // 1_000_000):
                    client.send(b"a" * 1_000_000)
                    await client.writer.drain()
                assert await client.refusal() == (413, "request_too_large")


async def test_a_body_that_flows_has_the_time_it_takes(ahead: ClockAhead) -> None:
    """It has 60 s and 20 s for each part; a part is sent each 15 s, so the last one comes after 165 s."""
    body = json.dumps({"content": "x" * 2000}).encode()
    head = b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving(app_for(), SLOW) as url, connected(url) as client:
        client.send(head)
        for start in range(0, len(body), 200):
            await ahead.by(15)
            client.send(body[start : start + 200])
        assert (await client.answer())[0] == 200


async def test_a_body_that_drips_has_an_end(ahead: ClockAhead) -> None:
    """It has 60 s and 2 s for each part, one each 15 s: it isn't over after 60 s, and is after 75."""
    async with serving(app_for(), SLOW) as url, connected(url) as client:
        client.send(b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
        for _ in range(4):
            client.send(b"x" * 20)
            await ahead.by(15)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(1), 0.05)
        await ahead.by(15)
        assert await client.refusal() == (408, "request_timeout")


async def test_an_answer_has_the_time_it_takes() -> None:
    service = ScriptedService(lambda request: [0.8, *says("a")(request)])
    async with serving(app_for(service), LIMITS) as url, connected(url) as client:
        client.send(POST + b"\r\n" + BODY + b"GET /health HT")  # half of the next head is there already
        assert (await client.answer())[0] == 200
        client.send(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert await client.answer() == (200, {"status": "ok"})


async def test_a_client_that_reads_nothing_ends_its_request() -> None:
    def script(request: Any) -> list[Step]:
        first, delta, *_ = says("x" * 100_000)(request)
        return [first, *[delta] * 300, asyncio.Event()]

    service = ScriptedService(script)
    body = json.dumps({**TEXT, "stream": True}).encode()
    async with serving(app_for(service), LIMITS) as url, connected(url) as client:
        client.send(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await asyncio.wait_for(service.closing.wait(), PATIENCE_S)
    assert service.closed == [service.request.id]


@pytest.mark.parametrize("half", [b"GET /hea", POST + b"\r\n" + BODY[:5]], ids=["head", "body"])
async def test_the_connection_that_waits_longest_makes_room(half: bytes) -> None:
    limits = ConnectionLimits(n_connections=3)
    service = ScriptedService(lambda request: [1.0, *says("a")(request)])
    async with serving(app_for(service), limits) as url, connected(url) as busy:
        busy.send(POST + b"\r\n" + BODY)
        await service.reached(1)
        async with AsyncExitStack() as stack:
            for _ in range(20):  # none is closed by its client
                (await stack.enter_async_context(connected(url))).send(half)
                await asyncio.sleep(0.01)
            async with connected(url) as client:
                client.send(GET)
                assert await client.answer() == (200, {"status": "ok"})
        assert (await busy.answer())[0] == 200


async def test_beyond_the_limit_where_all_have_work_one_is_refused() -> None:
    release = asyncio.Event()
    service = ScriptedService(lambda request: [release, *says("a")(request)])
    async with (
        serving(app_for(service), ConnectionLimits(n_connections=2)) as url,
        connected(url) as first,
        connected(url) as second,
    ):
        for number, client in enumerate((first, second), start=1):
            client.send(POST + b"\r\n" + BODY)
            await service.reached(number)
        async with connected(url) as third:
            assert await third.refusal() == (503, "too_many_connections")
        release.set()
        assert [(await client.answer())[0] for client in (first, second)] == [200, 200]


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "invalid_http"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_http"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_http"),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_http"),
        (b"CONNECT /health HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_http"),
        (b"CONNECT * HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 400, "invalid_http"),
        (b"GET /health HTTP/1.1\r\n\r\n", 400, "invalid_http"),
        (b"POST /tokenize HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" + GET, 400, "invalid_http"),
        (CHUNKED + b"zz\r\n", 400, "invalid_http"),
        (b"GET /" + b"a" * 400_000, 414, "url_too_long"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 400_000, 431, "headers_too_long"),
        (CHUNKED + b"0\r\n" + b"a: b\r\n" * MAX_TRAILERS, 431, "headers_too_long"),
        (CHUNKED + b"0\r\na: " + b"b" * 400_000, 431, "headers_too_long"),
        (CHUNKED + b"2;" + b"b" * 400_000, 431, "headers_too_long"),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_told_so(data: bytes, status: int, code: str) -> None:
    async with serving(app_for()) as url, connected(url) as client:
        client.send(data)
        assert await client.refusal() == (status, code)


async def test_nonsense_behind_a_request_does_not_get_into_its_stream() -> None:
    service = ScriptedService(lambda request: [*says("a")(request)[:2], asyncio.Event()])
    body = json.dumps({**TEXT, "stream": True}).encode()
    async with serving(app_for(service)) as url, connected(url) as client:
        client.send(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await client.reader.readuntil(b"data: ")
        client.send(b"nonsense\r\n\r\n")
        assert b"HTTP/1.1 400" not in await client.rest()
        await asyncio.wait_for(service.closing.wait(), PATIENCE_S)


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://evil.example/health", b"localhost", 403),
        (b"http://localhost/health", b"evil.example", 200),
        (b"http://localhost:80/health", b"evil.example", 200),
    ],
)
async def test_the_host_of_a_whole_address_counts(target: bytes, host: bytes, status: int) -> None:
    async with serving(app_for()) as url, connected(url) as client:
        client.send(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host))
        assert (await client.answer())[0] == status


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
@pytest.mark.parametrize("pieces", [1, 7])
async def test_another_protocol_that_is_offered_changes_nothing(protocol: bytes, pieces: int) -> None:
    offer = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMAAABk\r\n\r\n" % protocol
    )
    data = (POST + offer + BODY) * 2 + GET.replace(b"\r\n\r\n", b"\r\n" + offer) + GET
    size = -(-len(data) // pieces)
    async with serving(app_for()) as url, connected(url) as client:
        for start in range(0, len(data), size):
            client.send(data[start : start + size])
            await asyncio.sleep(0.01)
        for _ in range(2):
            status, answer = await client.answer()
            assert (status, answer["choices"][0]["message"]["content"]) == (200, "Hello world")
        for _ in range(2):
            assert await client.answer() == (200, {"status": "ok"})


async def test_many_offers_at_once_are_as_good_as_one() -> None:
    n = 2000
    offer = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    async with serving(app_for()) as url, connected(url) as client:
        client.send(offer * n)
        for _ in range(n):
            assert await client.answer() == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "trailer", [b"Host: evil.example", b"Origin: https://evil.example", b"Content-Encoding: gzip"]
)
async def test_what_follows_a_body_says_nothing_about_the_request(trailer: bytes) -> None:
    body = b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(BODY), BODY, trailer)
    head = CHUNKED.replace(b"/tokenize", b"/v1/chat/completions")
    async with serving(app_for()) as url, connected(url) as client:
        client.send(head + body + GET)
        assert (await client.answer())[0] == 200
        assert await client.answer() == (200, {"status": "ok"})
