from __future__ import annotations

import pytest

from server.loadtest.events import events_of


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends(end: bytes) -> None:
    body = end.join([b": comment", b"event: x", b"data: one", b"", b"data:two", b"data: more", b"", b""])
    assert [event.data for event in events_of(body)] == [b"one", b"two\nmore"]


def test_ends_are_the_last_bytes_needed() -> None:
    body = b"data: one\n\ndata: two\r\n\r\n: end\n"
    ends = [event.end for event in events_of(body)]
    assert ends == [body.index(b"\n\n") + 1, body.index(b"\r\n\r\n") + 3]


def test_an_event_cut_off_is_none() -> None:
    assert [e.data for e in events_of(b"data: one\n\ndata: two\n")] == [b"one"]


def test_fields_without_data_make_no_event() -> None:
    assert list(events_of(b"event: ping\n\n\n\nid: 3\n\n")) == []


def test_empty_data_and_one_space() -> None:
    assert [e.data for e in events_of(b"data\n\ndata:  x\n\n")] == [b"", b" x"]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert [e.data for e in events_of(b"\xef\xbb\xbfdata: x\n\n")] == [b"x"]
