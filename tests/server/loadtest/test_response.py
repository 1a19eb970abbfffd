from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.loadtest.response import MalformedResponse, parse_head, parse_response
from tests.server.loadtest.scripted_server import LAST, chunk

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_with_a_length() -> None:
    found = parse_response(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello", closed=False
    )
    assert (found.status, found.body, found.complete) == (404, b"hello", True)
    assert found.headers["x-a"] == "b"
    assert found.raw_offset(0) == found.raw_offset(4) - 4


def test_a_body_that_the_connections_end_ends() -> None:
    data = b"HTTP/1.0 200 OK\r\n\r\nhel"
    assert not parse_response(data, closed=False).complete
    assert parse_response(data, closed=True).complete
    assert parse_response(data, closed=True).body == b"hel"


def test_a_body_that_is_too_short_is_incomplete_though_the_connection_is_closed() -> None:
    found = parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", closed=True)
    assert (found.body, found.complete) == (b"hel", False)


def test_bytes_after_the_length_are_no_body() -> None:
    assert parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP", closed=True).body == b"hi"


def test_interim_responses_are_passed_over() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    head = parse_head(data)
    assert head is not None
    assert (head.status, head.end) == (200, len(data))
    assert parse_head(data[:40]) is None


@pytest.mark.parametrize(
    "body",
    [
        b"5;name=value\r\nhello\r\n0\r\n\r\n",
        b"005\r\nhello\r\n0\r\n\r\n",
        b"2\r\nhe\r\n3 \r\nllo\r\n0;last\r\n\r\n",
        b"5\r\nhello\r\n0\r\nTrailer: 1\r\nOther: 2\r\n\r\n",
    ],
)
def test_forms_of_chunks(body: bytes) -> None:
    found = parse_response(CHUNKED + body, closed=False)
    assert (found.body, found.complete) == (b"hello", True)


def test_several_codings_of_which_the_last_is_chunked() -> None:
    head = parse_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: Chunked\r\n\r\n")
    assert head is not None
    assert head.chunked


@given(pieces=st.lists(st.binary(min_size=1, max_size=20), max_size=6))
def test_chunks_are_joined_and_every_byte_is_found_again(pieces: list[bytes]) -> None:
    data = CHUNKED + b"".join(map(chunk, pieces)) + LAST
    found = parse_response(data, closed=False)
    assert found.complete
    assert found.body == b"".join(pieces)
    assert all(
        data[found.raw_offset(i) : found.raw_offset(i) + 1] == found.body[i : i + 1]
        for i in range(len(found.body))
    )


@given(
    pieces=st.lists(
        st.sampled_from([b"a", b"0\r\n\r\n", b"\r\n0\r\n\r\n", b"5\r\nhello\r\n"]), min_size=1, max_size=4
    )
)
def test_no_beginning_of_a_response_is_complete(pieces: list[bytes]) -> None:
    """Not even one that ends in what looks like the last chunk."""
    data = CHUNKED + b"".join(map(chunk, pieces)) + LAST
    body = b"".join(pieces)
    for end in range(len(CHUNKED), len(data)):
        found = parse_response(data[:end], closed=True)
        assert not found.complete
        assert body.startswith(found.body)


def test_headers_that_break_off() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
    for end in range(len(data)):
        assert parse_head(data[:end]) is None
        with pytest.raises(MalformedResponse):
            parse_response(data[:end], closed=True)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        CHUNKED + b"xyz\r\nhello\r\n",
        CHUNKED + b"-5\r\nhello\r\n",
        CHUNKED + b"\r\nhello\r\n",
        CHUNKED + b"3\r\nhello\r\n",
    ],
)
def test_what_is_no_response(data: bytes) -> None:
    with pytest.raises(MalformedResponse):
        parse_response(data, closed=True)
