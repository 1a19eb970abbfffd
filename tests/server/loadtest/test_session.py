from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from models.errors import CorralError, ModelNotFound
from server.loadtest.prompts import WORDS, all_words, words
from server.loadtest.session import Level, Plan, Session, first_model, lengths_of, levels_of
from server.loadtest.target import Target
from tests.server.loadtest.scripted_server import Piece, Received, ScriptedServer, openai, plain, serving

PLAN = Plan("scripted", prompt_tokens=107, output_tokens=4)


def prompts(server: ScriptedServer) -> list[str]:
    return [one.body["messages"][0]["content"] for one in server.received]


def test_prompts_have_the_length_asked_for() -> None:
    """Two tokens a word and seven around them: 107 tokens are 50 words."""
    with serving(openai()) as server:
        session = Session(Target.find(server.url), PLAN, 1)
        session.probe(n_warmup=1)
        n_probes = len(server.received)
        result = session.run(Level(6, concurrency=2), lambda _: None)
        sent = prompts(server)[n_probes - 1 :]
    assert [len(prompt.split()) for prompt in sent] == [50] * 7
    assert len(set(sent)) == 7
    assert (result.figures.n_requests, result.figures.n_errors) == (6, 0)
    assert (result.figures.tokens_out, result.figures.tokens_in) == (24, 6 * 107)


def test_a_shared_prefix() -> None:
    plan = Plan("scripted", chat=False, prompt_tokens=107, output_tokens=1, shared_prefix=87)
    with serving(openai()) as server:
        session = Session(Target.find(server.url), plan, 1)
        session.probe()
        n_probes = len(server.received)
        session.run(Level(3, concurrency=3), lambda _: None)
        sent = [one.body["prompt"].split() for one in server.received[n_probes:]]
    assert {len(prompt) for prompt in sent} == {50}
    assert len({tuple(prompt[:40]) for prompt in sent}) == 1
    assert len({tuple(prompt[40:]) for prompt in sent}) == 3


def test_requests_arrive_at_random_times() -> None:
    ended: list[float] = []
    with serving(openai()) as server:
        session = Session(Target.find(server.url), PLAN, 1)
        session.run(Level(8, rate=100.0), lambda capture: ended.append(capture.started_s))
    gaps = [b - a for a, b in zip(sorted(ended), sorted(ended)[1:], strict=False)]
    assert len(ended) == 8
    assert sum(gaps) > 0.01
    assert max(gaps) > 2 * min(gaps)


def test_a_server_that_refuses_what_it_does_not_know() -> None:
    def script(request: Received) -> Iterator[Piece]:
        if request.body and "ignore_eos" in request.body:
            yield plain("400 Bad Request", {"error": {"message": "unknown field"}})
        else:
            yield from openai()(request)

    with serving(script) as server:
        session = Session(Target.find(server.url), PLAN, 1)
        session.probe()
        assert not session.ignores_eos
        assert session.run(Level(2, concurrency=1), lambda _: None).first_error is None


def test_a_server_that_refuses_everything() -> None:
    with serving(lambda _: [plain("401 Unauthorized", {"error": {"message": "no key"}})]) as server:
        session = Session(Target.find(server.url), PLAN, 1)
        with pytest.raises(CorralError, match="refuses a request: HTTP 401: no key"):
            session.probe()


def test_an_interruption_keeps_what_has_ended() -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with serving(openai()) as server:
        session = Session(Target.find(server.url), PLAN, 1)
        result = session.run(Level(5, concurrency=1), interrupt)
    assert result.interrupted
    assert (result.figures.n_requests, result.figures.n_errors) == (1, 0)


def test_the_first_model() -> None:
    with serving(openai()) as server:
        assert first_model(Target.find(server.url)) == "scripted"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (plain("200 OK", {"data": []}), ModelNotFound),
        (plain("200 OK", {"models": []}), CorralError),
        (plain("404 Not Found", {}), CorralError),
    ],
)
def test_no_first_model(answer: bytes, error: type[CorralError]) -> None:
    with serving(lambda _: [answer]) as server, pytest.raises(error):
        first_model(Target.find(server.url))


def test_lengths_where_nothing_is_counted_are_guessed() -> None:
    for few, many in ((None, None), (10, 10), (10, 9)):
        assert lengths_of(few, many).words_for(133) == 100


def test_levels() -> None:
    assert levels_of([1, 16], [], None) == [Level(8, 1), Level(64, 16)]
    assert levels_of([1, 16], [], 5) == [Level(5, 1), Level(5, 16)]
    assert levels_of([1], [2.5], None) == [Level(32, rate=2.5)]


def test_words() -> None:
    rng = random.Random(3)
    assert len(words(20, rng).split()) == 20
    assert words(20, rng) != words(20, rng)
    assert sorted(all_words(rng).split()) == sorted(WORDS)
