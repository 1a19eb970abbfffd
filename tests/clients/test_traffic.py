"""The relay's record of HTTP: what comes in pieces, in chunks, without an end."""

from __future__ import annotations

from tests.clients.traffic import Connection, Exchange

ASK = b'POST /v1/x?beta=true HTTP/1.1\r\nContent-Length: 7\r\n\r\n{"a":1}'
SSE = b'event: e\ndata: {"n": 1}\n\ndata: {"n": 2}\n\ndata: [DONE]\n\n'


def exchanges_of(up: bytes, down: bytes, size: int) -> list[Exchange]:
    connection = Connection([])
    for data, feed in ((up, connection.feed_up), (down, connection.feed_down)):
        for at in range(0, len(data), size):
            feed(data[at : at + size])
    connection.close()
    return connection.exchanges


def chunked(body: bytes) -> bytes:
    parts = [body[at : at + 10] for at in range(0, len(body), 10)]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_two_exchanges_in_pieces_of_any_size() -> None:
    plain = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
    for size in (1, 7, 1000):
        first, second = exchanges_of(ASK + ASK, chunked(SSE) + plain, size)
        assert (first.method, first.path, first.request.json()) == ("POST", "/v1/x", {"a": 1})
        assert first.events() == [{"n": 1}, {"n": 2}]
        assert (second.status, second.events()) == (404, [])


def test_an_answer_that_is_cut_keeps_what_came() -> None:
    (exchange,) = exchanges_of(ASK, chunked(SSE)[:90], 1000)
    assert exchange.status == 200
    assert exchange.answer is not None
    assert SSE.startswith(exchange.answer.body)
    assert exchange.answer.body


def test_no_answer() -> None:
    (exchange,) = exchanges_of(ASK, b"", 1)
    assert exchange.status == 0
