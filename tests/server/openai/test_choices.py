from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.engine.events import ChoiceEnd, Event, Failure, PromptScored, TokenLogprob
from server.openai import response_types
from server.openai.choices import CallHead, ChoiceDelta, Choices
from server.openai.chunks import ChunkEncoder
from server.openai.errors import RequestFailed
from server.openai.heading import Kind
from server.openai.requests.answer_options import AnswerOptions
from server.openai.response import WholeAnswer
from tests.server.http_client import events_of
from tests.server.openai.answers import FINISH, STARTED, delta, end, heading


def deltas(choices: Choices, *events: Event) -> list[ChoiceDelta]:
    return [part for event in events for part in choices.feed(event)]


def test_a_chats_choice_opens_speaks_and_ends() -> None:
    choices = Choices("chat", 1)
    assert deltas(choices, STARTED, delta("a"), end()) == [ChoiceDelta(0, opens=True), ChoiceDelta(0, "a")]
    assert choices.finish is None
    assert choices.feed(FINISH) == [ChoiceDelta(0, finish_reason="stop")]
    assert choices.finish is FINISH


def test_a_texts_choice_has_no_role_to_open_with() -> None:
    assert deltas(Choices("text", 1), STARTED, delta("a")) == [ChoiceDelta(0, "a")]


def test_only_the_last_end_is_held_back() -> None:
    choices = Choices("text", 2)
    assert choices.feed(end(1)) == [ChoiceDelta(1, finish_reason="stop")]
    assert choices.feed(end(0)) == []
    assert choices.feed(FINISH) == [ChoiceDelta(0, finish_reason="stop")]


def test_what_says_nothing_makes_no_delta() -> None:
    choices = Choices("text", 1)
    assert choices.feed(delta("")) == []
    assert choices.feed(delta("", tokens=(5,))) == []
    assert choices.feed(PromptScored(id="x", logprobs=())) == []


def test_thoughts_and_calls_are_parts_of_a_choice() -> None:
    choices = Choices("chat", 1)
    fields: dict[str, Any] = {"id": "x", "index": 0}
    begin = CallBegin(**fields, text="", call=1, call_id="c", name="f")
    parts = deltas(
        choices,
        STARTED,
        ThoughtDelta(**fields, text="hm"),
        begin,
        CallDelta(**fields, text='{"a"', call=1),
        CallEnd(**fields, text="", call=1),
    )
    assert parts == [
        ChoiceDelta(0, opens=True),
        ChoiceDelta(0, "hm", "thoughts"),
        ChoiceDelta(0, "", "call", 1, CallHead("c", "f")),
        ChoiceDelta(0, '{"a"', "call", 1),
    ]
    assert choices.feed(begin)[0].begins == CallHead("c", "f")
    assert choices.feed(CallEnd(**fields, text="", call=1)) == [ChoiceDelta(0, "{}", "call", 1)]


def test_scores_are_counted_though_the_client_gets_none() -> None:
    scores = (TokenLogprob(5, b"a", -0.5), TokenLogprob(6, b"b", None))
    (part,) = Choices("text", 1).feed(delta("ab", logprobs=scores, n_tokens=2))
    assert part == ChoiceDelta(0, "ab", n_scored=2, logprob_sum=-0.5)
    (prompt,) = Choices("text", 1).feed(delta("ab", logprobs=scores, is_prompt=True))
    assert (prompt.n_scored, prompt.logprob_sum) == (0, 0.0)


@pytest.mark.parametrize(
    ("kind", "form"), [("chat", response_types.ChatLogprobs), ("text", response_types.TextLogprobs)]
)
def test_logprobs_have_the_form_of_the_kind(kind: Kind, form: type) -> None:
    choices = Choices(kind, 1, logprobs=True, return_tokens=True)
    *_, part = choices.feed(delta("a", tokens=(5,), logprobs=(TokenLogprob(5, b"a", -0.5),)))
    assert isinstance(part.logprobs, form)
    assert part.tokens == (5,)
    *_, plain = Choices(kind, 1).feed(delta("a", tokens=(5,)))
    assert (plain.logprobs, plain.tokens) == (None, UNSET)


def test_a_failure_is_raised() -> None:
    with pytest.raises(RequestFailed):
        Choices("chat", 1).feed(Failure(id="x", kind="server_error", message="m"))


def test_timings_so_far() -> None:
    assert Choices("chat", 1).timings_so_far() is UNSET
    choices = Choices("chat", 1, timings_per_token=True)
    deltas(choices, STARTED, delta("ab", n_tokens=2))
    timings = choices.timings_so_far()
    assert isinstance(timings, response_types.Timings)
    assert (timings.prompt_n, timings.cache_n, timings.predicted_n) == (4, 3, 2)


# --- a stream and a whole answer ----------------------------------------------------------------------------


def random_events(rng: random.Random, n_choices: int, *, logprobs: bool) -> list[Event]:
    """One request's events as an engine may send them."""
    pieces = ["a", "é", "\0", '"\n', "", "long text"]
    events: list[Event] = [STARTED]
    for _ in range(rng.randrange(12)):
        text, index = rng.choice(pieces), rng.randrange(n_choices)
        entry = TokenLogprob(rng.randrange(9), text.encode(), -rng.random(), ((3, b"x", -1.0),))
        events.append(delta(text, index, (entry.token,), (entry,) if logprobs else ()))
    order = rng.sample(range(n_choices), n_choices)
    return [*events, *(ChoiceEnd(id="x", index=i, finish_reason="length") for i in order), FINISH]


@pytest.mark.parametrize("kind", ["chat", "text"])
@pytest.mark.parametrize("seed", range(20))
def test_a_streams_chunks_add_up_to_the_whole_answer(kind: Kind, seed: int) -> None:
    rng = random.Random(seed)
    n_choices, logprobs = rng.randrange(1, 4), rng.random() < 0.5
    options = AnswerOptions(n_probs=1 if logprobs else None, return_tokens=rng.random() < 0.5)
    events = random_events(rng, n_choices, logprobs=logprobs)
    stream, whole = (
        ChunkEncoder(heading(kind, n_choices), options),
        WholeAnswer(heading(kind, n_choices), options),
    )
    for event in events:
        whole.on_event(event)
    answer = msgspec.json.decode(b"".join(whole.pieces()))
    chunks = events_of(b"".join([stream.feed(event) for event in events]).decode())
    for index, choice in enumerate(answer["choices"]):
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == index]
        texts = [part["text"] if kind == "text" else part["delta"].get("content", "") for part in parts]
        assert "".join(texts) == (choice["text"] if kind == "text" else choice["message"]["content"])
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        assert [t for part in parts for t in part.get("tokens", [])] == choice.get("tokens", [])
        if logprobs:
            name = "content" if kind == "chat" else "text_offset"
            entries = [entry for part in parts if part["logprobs"] for entry in part["logprobs"][name]]
            assert entries == choice["logprobs"][name]
