"""An answer that is cut anywhere goes on in another engine as if nothing had been."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from models.errors import RequestError
from server.engine.engine import EngineConfig
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, PromptScored, Started
from server.engine.request import EngineRequest
from server.engine.resumption import Beginning, packed
from server.engine.sampling_params import SamplingParams
from server.engine.speculation.speculation import Speculation
from server.ipc.messages import Generate
from server.ipc.prompts import TextPrompt
from server.requests.answer_record import AnswerRecord
from server.requests.resume import can_resume, resume
from tests.server.engine.harness import Clock, Harness, Outcome, request
from tests.server.engine.proposers import Oracle
from tests.server.engine.random_schedule import random_request
from tests.server.engine.scripted_runner import EOG, ScriptedGuide, ScriptedRunner

N_CTX = 256


@dataclass
class Client:
    """One request's client: the record of its answer, and what it was shown."""

    asked: EngineRequest
    record: AnswerRecord = field(init=False)
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        self.asked = replace(self.asked, has_replay=True)
        self.record = AnswerRecord(self.asked.n, 100.0)

    def take(self, event: Event, now_s: float = 100.0) -> None:
        if isinstance(event, Delta):
            self.record.on_delta(event, now_s)
            self.outcome.take(event)
        elif (shown := self.record.on_event(event, now_s)) is not None:
            self.outcome.take(shown)

    def next_request(self) -> EngineRequest:
        """The request with which another engine goes on."""
        sent = Generate(id=self.asked.id, prompt=TextPrompt(""), params=self.asked.params, n=self.asked.n)
        resumed = resume(sent, self.record, 100.0).resumption
        self.record.resume()
        return replace(self.asked, resumption=resumed)


def steps_of(asked: EngineRequest, chance: random.Random | None = None) -> list[list[Event]]:
    """The events of each step of a request alone, with guesses if there is `chance`."""
    speculation = None if chance is None else Speculation(Oracle(0.7, chance))
    harness = Harness(ScriptedRunner(n_ctx=N_CTX, n_slots=2), EngineConfig(loop_tokens=0), speculation)
    harness.submit(asked)
    steps = []
    while harness.engine.has_work:
        steps.append(harness.step())
    return steps


def undisturbed(asked: EngineRequest) -> Outcome:
    client = Client(asked)
    for events in steps_of(client.asked):
        for event in events:
            client.take(event)
    return client.outcome


def cut_after(asked: EngineRequest, n_steps: int, chance: random.Random | None = None) -> Outcome | None:
    """What a client gets of two engines, the first of which died after so many steps; None: it can't be."""
    client = Client(asked)
    for events in steps_of(client.asked, chance)[:n_steps]:
        for event in events:
            client.take(event)
    if client.outcome.terminal is not None or not can_resume(client.record):
        return None
    for events in steps_of(client.next_request()):
        for event in events:
            client.take(event)
    return client.outcome


def check_alike(asked: EngineRequest, got: Outcome, wanted: Outcome) -> None:
    assert got.text == wanted.text
    assert got.ends == wanted.ends
    assert got.logprobs == wanted.logprobs
    assert got.prompt_logprobs == wanted.prompt_logprobs
    assert got.finish.usage == wanted.finish.usage
    if asked.return_tokens:
        assert got.tokens == wanted.tokens


STOPS = ("ab", "stop", "the end#", "é", "\ufffd")
ASKED = {
    "greedy": request(range(5), max_tokens=64, ignore_eos=True),
    "seeded": request(range(7), max_tokens=64, temperature=1.0, seed=3, ignore_eos=True),
    "stop strings": request(range(9), max_tokens=64, temperature=1.0, seed=5, stop=STOPS, min_tokens=20),
    "logprobs": request(
        range(5), max_tokens=64, n_probs=2, stop=STOPS, temperature=1.0, seed=11, ignore_eos=True
    ),
    "choices": request(range(4), max_tokens=64, n=3, temperature=1.0, seed=9),
    "echo": request(range(4), max_tokens=64, echo_text="echo: ", ignore_eos=True),
    "scores": request(range(4), max_tokens=64, n_probs=0, score_prompt=True, ignore_eos=True),
    "slides": request(range(40), max_tokens=400, n_keep=8, ignore_eos=True, temperature=1.0, seed=2),
    "grammar": replace(
        request(range(6), max_tokens=64, temperature=1.0, seed=4, ignore_eos=True),
        guide=ScriptedGuide(dict.fromkeys(range(0, EOG, 3), (1, 2, 3))),
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_an_answer_goes_on_after_any_of_its_tokens(name: str) -> None:
    asked = ASKED[name]
    wanted = undisturbed(asked)
    n_steps = len(steps_of(asked))
    n_cut = 0
    for n in range(1, n_steps) if n_steps < 100 else range(1, n_steps, 17):
        got = cut_after(asked, n)
        if got is not None:
            n_cut += 1
            check_alike(asked, got, wanted)
    assert n_cut >= min(n_steps // 20, 20)


@pytest.mark.parametrize("seed", range(16))
def test_any_request_goes_on_from_anywhere(seed: int) -> None:
    chance = random.Random(seed)
    prefixes = [[chance.randrange(EOG) for _ in range(80)] for _ in range(2)]
    for _ in range(4):
        asked = replace(random_request(chance, prefixes, N_CTX), timeout_s=None)
        wanted = undisturbed(asked)
        for n_steps in sorted({chance.randint(1, 40) for _ in range(3)}):
            got = cut_after(asked, n_steps, chance if chance.random() < 0.5 else None)
            if got is not None:
                check_alike(asked, got, wanted)


def test_it_goes_on_from_a_third_engine_too() -> None:
    asked = ASKED["stop strings"]
    client = Client(asked)
    for events in steps_of(client.asked)[:9]:
        for event in events:
            client.take(event)
    for events in steps_of(client.next_request())[:5]:
        for event in events:
            client.take(event)
    n_before = len(client.record.choices[0].tokens)
    for events in steps_of(client.next_request()):
        for event in events:
            client.take(event)
    assert n_before > 10
    check_alike(asked, client.outcome, undisturbed(asked))


@pytest.mark.parametrize("name", ["stop strings", "choices", "echo", "grammar"])
def test_whoever_gets_a_request_that_has_begun_can_hand_it_on(name: str) -> None:
    asked = ASKED[name]
    wanted = undisturbed(asked)
    for n_first in (1, 2, 9, 25):
        client = Client(asked)
        for events in steps_of(client.asked)[:n_first]:
            for event in events:
                client.take(event)
        if not can_resume(client.record):
            continue
        first = client.next_request()
        assert first.resumption is not None
        sent = Generate(id=asked.id, prompt=TextPrompt(""), params=asked.params, n=asked.n)
        sent = msgspec.structs.replace(sent, resumption=first.resumption)
        between = AnswerRecord.of(sent, 100.0)
        assert resume(sent, between, 101.0).resumption == msgspec.structs.replace(
            first.resumption, age_s=1.0, first_token_age_s=1.0 if client.record.has_tokens else None
        )
        for events in steps_of(first)[:4]:
            for event in events:
                client.take(event)
                if isinstance(event, Delta):
                    between.on_delta(event, 100.0)
                else:
                    between.on_event(event, 100.0)
        assert between.has_tokens == client.record.has_tokens
        if client.outcome.terminal is None:
            second = resume(sent, between, 100.0).resumption
            assert second == resume(sent, client.record, 100.0).resumption
            for events in steps_of(replace(first, resumption=second)):
                for event in events:
                    client.take(event)
        check_alike(asked, client.outcome, wanted)


def test_a_request_that_came_damaged_is_refused() -> None:
    client = Client(ASKED["choices"])
    for events in steps_of(client.asked)[:3]:
        for event in events:
            client.take(event)
    resumption = client.next_request().resumption
    assert resumption is not None
    sent = Generate(id="r", prompt=TextPrompt(""), params=SamplingParams(), n=3)
    broken = msgspec.structs.replace(resumption.choices[0], tokens=b"abc")
    for choices in ((), (broken,)):
        damaged = msgspec.structs.replace(resumption, choices=choices)
        with pytest.raises(RequestError, match="can't go on"):
            AnswerRecord.of(msgspec.structs.replace(sent, resumption=damaged), 100.0)


def test_samplers_without_a_replay_begin_anew_before_the_first_token() -> None:
    asked = replace(ASKED["seeded"], prompt_tokens=[token % EOG for token in range(100)])
    client = Client(asked)
    client.asked = replace(asked, has_replay=False)
    harness = Harness(ScriptedRunner(n_ctx=N_CTX), EngineConfig(prefill_tokens_alone=10))
    harness.submit(client.asked)
    for event in harness.step():
        client.take(event)
    assert client.record.is_begun
    assert can_resume(client.record)
    for events in steps_of(client.next_request()):
        for event in events:
            client.take(event)
    assert client.outcome.text == undisturbed(asked).text
    assert client.outcome.finish.usage.completion_tokens == 64


def test_other_tokens_are_refused() -> None:
    client = Client(ASKED["greedy"])
    for events in steps_of(client.asked)[:9]:
        for event in events:
            client.take(event)
    for damage in (packed([EOG + 7]), packed([EOG]), b"abc", packed([0])):
        again = client.next_request()
        assert again.resumption is not None
        choice = msgspec.structs.replace(again.resumption.choices[0], tokens=damage)
        resumption = msgspec.structs.replace(again.resumption, choices=(choice,))
        [[event]] = steps_of(replace(again, resumption=resumption))
        assert isinstance(event, Failure), damage
        assert event.kind == "invalid_request"


def test_limits_of_time_go_on() -> None:
    clock = Clock()
    harness = Harness(ScriptedRunner(spend=clock.spend_per_token(0.1)), clock=clock)
    asked = replace(request(range(3), max_tokens=100, ignore_eos=True), timeout_s=5.0, has_replay=True)
    client = Client(asked)
    for events in steps_of(asked)[:5]:
        for event in events:
            client.take(event)
    again = client.next_request()
    assert again.resumption is not None
    late = msgspec.structs.replace(again.resumption, age_s=4.0)
    harness.run([replace(again, resumption=late)])
    failure = harness.outcomes[asked.id].failure
    assert failure.code == "timeout"
    assert "5 s" in failure.message
    assert clock.now_s < 103.0
    stopped = Harness(ScriptedRunner(spend=clock.spend_per_token(0.1)), clock=clock)
    late = msgspec.structs.replace(again.resumption, first_token_age_s=4.0)
    stopped.run([replace(again, timeout_s=None, predict_ms=4000.0, resumption=late)])
    assert stopped.outcomes[asked.id].finish.usage.completion_tokens < 40


def started(*, has_replay: bool = True) -> Started:
    beginning = Beginning(prompt=packed([1, 2]), seed=7, has_replay=has_replay)
    return Started(id="r", prompt_tokens=2, cached_tokens=1, beginning=beginning)


def test_what_can_go_on() -> None:
    sent = Generate(id="r", prompt=TextPrompt("x"), params=SamplingParams(), n=2)
    record = AnswerRecord(2, 10.0)
    assert can_resume(record)
    assert resume(sent, record, 11.0) is sent
    record.on_event(started(has_replay=False), 11.0)
    assert can_resume(record), "nothing was drawn yet"
    record.on_delta(Delta(id="r", index=1, text="ab", tokens=(5, 6)), 12.0)
    assert not can_resume(record)
    record = AnswerRecord(2, 10.0)
    record.on_event(started(), 11.0)
    record.on_event(PromptScored(id="r", logprobs=(), more=True), 11.5)
    assert not can_resume(record)
    record.on_event(PromptScored(id="r", logprobs=()), 11.5)
    assert can_resume(record)
    record.on_delta(Delta(id="r", index=1, text="ab", tokens=(5, 6)), 12.0)
    record.on_event(ChoiceEnd(id="r", index=0, finish_reason="stop", n_tokens=3), 12.5)
    assert can_resume(record)
    resumption = resume(sent, record, 15.0).resumption
    assert resumption is not None
    [choice] = resumption.choices
    assert (choice.index, choice.tokens, choice.n_characters) == (1, packed([5, 6]), 2)
    assert (resumption.age_s, resumption.first_token_age_s, resumption.is_scored) == (5.0, 3.0, True)
    record.n_workers = 2
    assert not can_resume(record), "it may be the reason for its workers' deaths"


def test_counts_are_those_of_one_answer() -> None:
    record = AnswerRecord(1, 10.0)
    assert record.on_event(started(), 11.0) is not None
    record.on_delta(Delta(id="r", index=0, text="ab", tokens=(5, 6)), 12.0)
    record.resume()
    assert record.on_event(started(), 20.0) is None
    end = ChoiceEnd(id="r", index=0, finish_reason="stop", n_tokens=5, n_thoughts=1)
    assert record.on_event(end, 21.0) is end
    [[*_, last]] = [steps_of(ASKED["greedy"])[-1]]
    assert isinstance(last, Finish)
    finish = record.on_event(last, 22.0)
    assert isinstance(finish, Finish)
    usage, timings = finish.usage, finish.timings
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (2, 1, 5)
    assert usage.reasoning_tokens == 1
    assert (timings.queue_ms, timings.prompt_ms, timings.predicted_ms) == (1000.0, 1000.0, 10_000.0)
    assert (timings.prompt_n, timings.predicted_n) == (1, 5)
