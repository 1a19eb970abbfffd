"""A real worker process while it prepares requests that are far too long, and control tokens as stops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Cancel, Drain, Generate, Stats, StatsReply, Tokenize, TokenizeReply
from server.ipc.prompts import ChatPrompt, Prompt, TextPrompt
from tests.server.worker.client import WorkerClient

pytestmark = pytest.mark.model

MEGABYTES = "the llama sat on the mat " * 50_000
N_SLOW = 4
"""More long requests than a lane has threads."""


@pytest.fixture(scope="module")
def worker(pico_path: Path) -> Iterator[WorkerClient]:
    with WorkerClient(pico_path) as client:
        client.ready()
        yield client


def ask(name: str, prompt: Prompt, max_tokens: int = 4, **params: object) -> Generate:
    options = {"temperature": 0.0, "max_tokens": max_tokens, **params}
    return Generate(id=name, prompt=prompt, params=SamplingParams(**options))  # type: ignore[arg-type]


def test_a_short_request_overtakes_megabytes(worker: WorkerClient) -> None:
    for n in range(N_SLOW):
        worker.send(Tokenize(id=f"slow{n}", text=MEGABYTES))
    worker.send(ask("short", TextPrompt("hello world")))
    worker.send(ask("chat", ChatPrompt([{"role": "user", "content": "hello"}])))
    done: list[str] = []
    replies = 0
    while len(done) < 2 or replies < N_SLOW:
        reply = worker.receive()
        if isinstance(reply, TokenizeReply):
            replies += 1
            done += [] if len(done) == 2 else [reply.id]
        else:
            assert reply is not None
            done += [event.id for event in reply.events if type(event).__name__ == "Finish"]  # type: ignore[union-attr]
    assert sorted(done[:2]) == ["chat", "short"]


def test_cancels_and_questions_dont_wait_for_megabytes(worker: WorkerClient) -> None:
    messages = [{"role": "user", "content": MEGABYTES}]
    names = [f"long{n}" for n in range(N_SLOW)]
    for name in names:
        worker.send(ask(name, ChatPrompt(messages)))
    for name in names[::-1]:
        worker.send(Cancel(name))
    begun = time.monotonic()
    assert isinstance(worker.call(Stats(id="s"), StatsReply), StatsReply)
    kinds = [worker.finish(name).failure.kind for name in names]
    assert set(kinds) <= {"cancelled", "invalid_request"}
    assert kinds[-1] == "cancelled"
    assert time.monotonic() - begun < 30
    worker.send(ask("after", TextPrompt("hello")))
    assert worker.finish("after").finish.usage.completion_tokens == 4


def test_a_prompt_that_cant_fit_names_the_limit(worker: WorkerClient) -> None:
    worker.send(ask("much", TextPrompt(MEGABYTES)))
    failure = worker.finish("much").failure
    assert (failure.kind, failure.param, failure.code) == (
        "invalid_request",
        "prompt",
        "context_length_exceeded",
    )
    assert "maximum context length is 256 tokens" in failure.message


@pytest.mark.parametrize("stop", ["<s>", "<s>ab", "x<s>"])
def test_a_control_token_is_a_stop_string(worker: WorkerClient, stop: str) -> None:
    (token,) = worker.call(Tokenize(id="t", text="<s>"), TokenizeReply).tokens
    bias = ((token, 100.0),)
    worker.send(ask(f"stop {stop}", TextPrompt("hello"), 8, stop=(stop,), logit_bias=bias, ignore_eos=True))
    answer = worker.finish(f"stop {stop}")
    alone = stop == "<s>"
    assert (answer.ends[0].finish_reason, answer.ends[0].stop) == (
        ("stop", "<s>") if alone else ("length", None)
    )
    assert answer.finish.usage.completion_tokens == (1 if alone else 8)
    assert answer.text.get(0, "") == ""


def test_a_drain_waits_for_what_is_being_prepared(pico_path: Path) -> None:
    with WorkerClient(pico_path) as client:
        client.ready()
        client.send(Tokenize(id="slow", text=MEGABYTES))
        client.send(ask("before", TextPrompt("hello")))
        client.send(Drain(grace_s=20.0))
        client.send(ask("after", TextPrompt("hello")))
        assert client.finish("after").failure.kind == "unavailable"
        assert client.finish("before").finish.usage.completion_tokens == 4
        while client.receive() is not None:
            pass
        assert client.process.wait(60) == 0


def test_a_grace_that_is_over_ends_what_is_being_prepared(pico_path: Path) -> None:
    with WorkerClient(pico_path) as client:
        client.ready()
        names = [f"long{n}" for n in range(N_SLOW)]
        for name in names:
            client.send(ask(name, ChatPrompt([{"role": "user", "content": MEGABYTES}])))
        client.send(Drain(grace_s=0.0))
        kinds = {client.finish(name).failure.kind for name in names}
        assert kinds <= {"unavailable", "invalid_request"}
        assert client.process.wait(60) == 0
