from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from server.loadtest.client import Lane, LoadClient, at_once, concurrent
from server.loadtest.exchange import Capture
from server.loadtest.outcome import outcome_of
from server.loadtest.target import Request, Target
from tests.server.loadtest.scripted_server import (
    HEAD,
    LAST,
    Piece,
    Received,
    chunk,
    event,
    openai,
    plain,
    serving,
    text_chunk,
    usage_chunk,
)


def requests(target: Target, n: int, max_tokens: int = 3) -> list[Request]:
    return [
        target.stream({"model": "m", "prompt": f"p{i}", "max_tokens": max_tokens}, f"{i}") for i in range(n)
    ]


@pytest.mark.parametrize("hold", [False, True], ids=["closing", "held open"])
def test_all_at_once(hold: bool) -> None:
    """The end of an answer is seen whether or not the server closes the connection."""
    with serving(openai(), hold=hold) as server:
        target = Target.find(server.url)
        captures = LoadClient(target, timeout_s=20).run(at_once(requests(target, 5)))
    outcomes = [outcome_of(capture) for capture in captures]
    assert [one.error for one in outcomes] == [None] * 5
    assert sorted(one.label for one in outcomes) == list("01234")
    assert all(one.n_tokens == 3 and len(one.text_times) == 3 for one in outcomes)
    assert {one.body["prompt"] for one in server.received} == {f"p{i}" for i in range(5)}


def test_so_many_at_a_time() -> None:
    with serving(openai(pause_s=0.002)) as server:
        target = Target.find(server.url)
        captures = LoadClient(target).run(concurrent(requests(target, 12), 3))
    assert len(captures) == 12
    assert server.most_at_once == 3


def test_a_lane_goes_one_by_one_and_starts_when_told() -> None:
    with serving(openai(pause_s=0.002)) as server:
        target = Target.find(server.url)
        first, second, later = requests(target, 3)
        captures = LoadClient(target).run([Lane.of(first, second), Lane.of(later, start_s=0.2)])
    by_label = {capture.request.label: capture for capture in captures}
    ended = by_label["0"].ended_s
    assert ended is not None
    assert by_label["1"].started_s >= ended
    assert by_label["2"].started_s >= by_label["0"].started_s + 0.2


def test_one_byte_at_a_time() -> None:
    looks_like_the_end = chunk(b": 0\r\n\r\n")
    answer = (
        HEAD
        + looks_like_the_end
        + b"".join(
            chunk(event(one))
            for one in (text_chunk("0\r\n\r\n"), text_chunk("", "stop"), usage_chunk(1, 2), "[DONE]")
        )
    )

    def script(_: Received) -> Iterator[Piece]:
        for i in range(len(answer)):
            yield answer[i : i + 1]
        yield from (LAST[i : i + 1] for i in range(len(LAST)))

    with serving(script, hold=True) as server:
        target = Target.find(server.url)
        (capture,) = LoadClient(target, timeout_s=20).run(at_once(requests(target, 1)))
    assert b"".join(capture.pieces) == answer + LAST
    assert outcome_of(capture).n_tokens == 2


@pytest.mark.parametrize("hold", [False, True])
def test_an_error_answer_ends_by_its_length(hold: bool) -> None:
    with serving(lambda _: [plain("429 Busy", {"error": {"message": "later"}})], hold=hold) as server:
        target = Target.find(server.url)
        (capture,) = LoadClient(target, timeout_s=20).run(at_once(requests(target, 1)))
    assert capture.error is None
    assert outcome_of(capture).error == "HTTP 429: later"


def test_a_connection_that_breaks_is_an_error_and_the_lane_goes_on() -> None:
    def script(request: Received) -> Iterator[Piece]:
        if request.body["prompt"] == "p0":
            yield HEAD + chunk(event(text_chunk("a")))
        else:
            yield from openai()(request)

    with serving(script) as server:
        target = Target.find(server.url)
        captures = LoadClient(target).run([Lane.of(*requests(target, 2))])
    first, second = (outcome_of(capture) for capture in captures)
    assert first.error is not None
    assert second.error is None


def test_what_is_no_http_is_an_error() -> None:
    with serving(lambda _: [b"SSH-2.0-OpenSSH_9.2\r\n"], hold=True) as server:
        target = Target.find(server.url)
        (capture,) = LoadClient(target, timeout_s=20).run(at_once(requests(target, 1)))
    assert capture.error is not None
    assert "no HTTP/1.1 response" in capture.error


def test_nobody_listening() -> None:
    with serving(openai()) as server:
        target = Target.find(server.url)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = replace(target, address=unused.getsockname())
        captures = LoadClient(gone).run([Lane.of(*requests(gone, 3))])
    assert [capture.error for capture in captures] == ["Connection refused"] * 3


def test_a_request_that_never_ends_is_given_up() -> None:
    def script(request: Received) -> Iterator[Piece]:
        yield HEAD
        if request.body["prompt"] == "p1":
            yield from list(openai()(request))[1:]

    with serving(script, hold=True) as server:
        target = Target.find(server.url)
        captures = LoadClient(target, timeout_s=2.0).run(at_once(requests(target, 2)))
    errors = {capture.request.label: capture.error for capture in captures}
    assert errors == {"0": "no end after 2 s", "1": None}


def test_an_interruption_closes_the_connections() -> None:
    ended: list[Capture] = []

    def interrupt(capture: Capture) -> None:
        ended.append(capture)
        if len(ended) == 2:
            raise KeyboardInterrupt

    def script(request: Received) -> Iterator[Piece]:
        if request.body["prompt"] == "p5":
            yield 0.05
            while True:  # until the client hangs up
                yield chunk(b": still there\n\n")
                yield 0.001
        yield from openai()(request)

    with serving(script) as server:
        target = Target.find(server.url)
        client = LoadClient(target, interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.run(concurrent(requests(target, 6)[::-1], 2))
    assert len(ended) == 2


def test_a_long_request_is_sent_whole() -> None:
    prompt = "word " * 2_000_000
    with serving(openai()) as server:
        target = Target.find(server.url)
        request = target.stream({"model": "m", "prompt": prompt, "max_tokens": 1})
        (capture,) = LoadClient(target, timeout_s=60).run([Lane.of(request)])
    assert outcome_of(capture).error is None
    assert server.received[0].body["prompt"] == prompt
