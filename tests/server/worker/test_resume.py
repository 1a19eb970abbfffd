"""Answers of a real model in F32 go on in another engine, after any token, whatever samples them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.events import Delta, Event
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import TextPrompt
from server.requests.answer_record import AnswerRecord
from server.requests.resume import resume
from server.worker.sampling.chain import active_steps
from tests.server.engine.harness import Outcome
from tests.server.worker.grammars import Grammars
from tests.server.worker.run.test_guided import FORCED_SCHEMA, WAYS
from tests.server.worker.session import Session, f32_context, random_prompt

pytestmark = pytest.mark.model

N_TOKENS = 64
N_SLOTS = 8
FULL = {name: params for name, params in WAYS.items() if name not in ("mirostat", "xtc")}
"""The ways of sampling whose state is a function of the tokens."""
EVERY = range(1, N_TOKENS)
SOME = (1, 2, 7, 31, 63)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path: Path = write_tiny_gguf(tmp_path_factory.mktemp("resumed") / "model.gguf", TinyModel())
    with Model.load(path) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def context(model: Model) -> Iterator[Context]:
    with f32_context(model, n_seq_max=N_SLOTS) as made:
        yield made


def asked(name: str, params: dict[str, Any], **options: Any) -> EngineRequest:
    defaults = {"max_tokens": N_TOKENS, "ignore_eos": True}
    return EngineRequest(
        id=name,
        prompt_tokens=random_prompt(1, 20, 200),
        params=SamplingParams(**{**defaults, **params}),
        has_replay=True,
        **options,
    )


def events_of(context: Context, requests: Sequence[EngineRequest]) -> dict[str, list[list[Event]]]:
    """The events of each request by steps, of an engine on a context that holds nothing."""
    context.clear()
    session = Session(context)
    found: dict[str, list[list[Event]]] = {request.id: [] for request in requests}
    for request in requests:
        session.outcomes[request.id] = Outcome()
        session.engine.submit(request)
    while session.engine.has_work:
        by_id: dict[str, list[Event]] = {}
        for event in session.engine.step():
            by_id.setdefault(event.id, []).append(event)
        for id_, events in by_id.items():
            found[id_].append(events)
    return found


class Client:
    """What the client of one request gets of several engines."""

    def __init__(self, request: EngineRequest) -> None:
        self.request = request
        self.record = AnswerRecord(request.n, 0.0)
        self.outcome = Outcome()

    def take(self, steps: Sequence[Sequence[Event]]) -> None:
        for events in steps:
            for event in events:
                if isinstance(event, Delta):
                    self.record.on_delta(event, 0.0)
                    self.outcome.take(event)
                elif (shown := self.record.on_event(event, 0.0)) is not None:
                    self.outcome.take(shown)

    def next_request(self, id_: str) -> EngineRequest:
        sent = Generate(id=id_, prompt=TextPrompt(""), params=self.request.params)
        self.record.resume()
        return replace(self.request, id=id_, resumption=resume(sent, self.record, 0.0).resumption)


def check_all_cuts(context: Context, request: EngineRequest, cuts: Sequence[int]) -> None:
    """Cut an answer after each of so many steps, go on with all of them at once, and compare."""
    [steps] = events_of(context, [request]).values()
    whole = Client(request)
    whole.take(steps)
    clients: dict[str, Client] = {}
    again: list[EngineRequest] = []
    for n_steps in cuts:
        client = Client(request)
        client.take(steps[:n_steps])
        if client.outcome.terminal is None and client.record.is_begun:
            clients[f"cut {n_steps}"] = client
            again.append(client.next_request(f"cut {n_steps}"))
    assert len(again) >= sum(n_steps < len(steps) - 1 for n_steps in cuts)
    for id_, rest in events_of(context, again).items():
        client = clients[id_]
        client.take(rest)
        assert client.outcome.text == whole.outcome.text, id_
        assert client.outcome.tokens == whole.outcome.tokens, id_
        assert _exact(client.outcome) == _exact(whole.outcome), id_
        assert client.outcome.finish.usage == whole.outcome.finish.usage, id_


def _exact(outcome: Outcome) -> list[Any]:
    """What is equal whatever else is in a batch: of logprobs the tokens alone, as their last bits aren't."""
    ends = sorted((end.index, end.finish_reason, end.stop, end.n_tokens) for end in outcome.ends.values())
    return [ends, {index: [each.token for each in told] for index, told in outcome.logprobs.items()}]


@pytest.mark.parametrize("way", FULL)
def test_an_answer_goes_on_after_every_token(context: Context, way: str) -> None:
    check_all_cuts(context, asked(way, FULL[way]), EVERY)


@pytest.mark.thorough
@pytest.mark.parametrize("way", FULL)
def test_an_answer_with_logprobs_goes_on_after_every_token(context: Context, way: str) -> None:
    check_all_cuts(context, asked(way, FULL[way], n_probs=2), EVERY)


def test_stop_strings_and_logprobs_go_on(context: Context, model: Model) -> None:
    plain = asked("plain", FULL["candidates"])
    [steps] = events_of(context, [plain]).values()
    whole = Client(plain)
    whole.take(steps)
    text = whole.outcome.text[0]
    stop = text[len(text) // 2 : len(text) // 2 + 4]
    assert len(stop) == 4
    params = {**FULL["candidates"], "stop": (stop, text[-30:-28] + "\0")}
    check_all_cuts(context, asked("stop", params), EVERY)
    check_all_cuts(context, asked("logprobs", params, n_probs=2), EVERY)
    check_all_cuts(context, asked("drawn", FULL["penalties"], n_probs=1, after_sampling=True), SOME)


@pytest.mark.parametrize("way", ["argmax", "candidates", "typical"])
def test_a_grammar_goes_on(context: Context, model: Model, way: str) -> None:
    guide = Grammars(model.vocab).schema(FORCED_SCHEMA)
    params = {**FULL[way], "ignore_eos": False, "max_tokens": 200}
    check_all_cuts(context, asked(way, params, guide=guide), EVERY)
    check_all_cuts(context, asked(way, params, guide=guide, n_probs=0), SOME)


def test_several_choices_go_on(context: Context) -> None:
    check_all_cuts(context, asked("three", FULL["whole_row"], n=3), SOME)


def test_samplers_that_cannot() -> None:
    def has_replay(**params: Any) -> bool:
        return all(step.has_replay for step in active_steps(SamplingParams(**params)))

    assert has_replay(temperature=1.0, seed=3, repeat_penalty=1.3, dry_multiplier=0.8)
    assert not has_replay(mirostat=2)
    assert not has_replay(mirostat=1, temperature=0.0)
    assert has_replay(xtc_probability=0.5)
    assert not has_replay(xtc_probability=0.5, seed=3)
