from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest

from server.chat.tools import Tool
from server.engine.sampling_params import SamplingParams
from server.ipc.constraint import Constraint
from server.ipc.messages import ApplyTemplate, CountTokens, Detokenize, Generate, Tokenize
from server.ipc.prompts import ChatPrompt, Prompt, TextPrompt, TokenPrompt
from server.ipc.pulse import N_JOBS as N_PLACES
from server.ipc.pulse import Pulse
from server.worker.lanes import (
    INSTANT,
    N_GRAMMAR_THREADS,
    N_THREADS,
    SHORT,
    Lane,
    Lanes,
    Prepared,
    is_instant,
    is_short,
    lane_of,
)


def generate(prompt: Prompt, *stops: str) -> Generate:
    return Generate(id="g", prompt=prompt, params=SamplingParams(stop=stops))


def chat(*messages: dict[str, Any], **kwargs: Any) -> ChatPrompt:
    return ChatPrompt(list(messages), chat_template_kwargs=kwargs)


N_JOBS = 2 * N_GRAMMAR_THREADS
FORM = Constraint(kind="regex", text="a+", param="regex")
HI = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    "message",
    [
        generate(TextPrompt("a" * SHORT)),
        generate(TokenPrompt(tuple(range(SHORT)))),
        generate(chat(HI, HI, HI, enable_thinking=True)),
        generate(chat({"role": "user", "content": "a" * (SHORT // 2)})),
        Tokenize(text="Hi", with_pieces=True),
        Detokenize(tokens=(1, 2)),
        ApplyTemplate(prompt=chat(HI)),
        CountTokens(prompt=chat(HI)),
    ],
)
def test_short(message: Prepared) -> None:
    assert is_short(message)


@pytest.mark.parametrize(
    "message",
    [
        generate(TextPrompt("a" * (SHORT + 1))),
        generate(TokenPrompt((1,) * (SHORT + 1))),
        generate(chat(*[HI] * 1000)),
        generate(TextPrompt("a"), "stop" * SHORT),
        generate(chat(HI), *["stop"] * SHORT),
        generate(chat({"role": "user", "content": "a" * SHORT})),
        generate(chat({"role": "assistant", "tool_calls": [{"arguments": "a" * SHORT}]})),
        generate(chat({"role": "assistant", "content": None, "more": [[]] * SHORT})),
        generate(chat(HI, tools=[{"name": "f"}] * SHORT)),
        generate(chat(HI, **{f"key{n}": n for n in range(SHORT)})),
        Tokenize(text="a" * (SHORT + 1)),
        Detokenize(tokens=(1,) * (SHORT + 1)),
        ApplyTemplate(prompt=chat(*[HI] * 1000)),
        CountTokens(prompt=chat(*[HI] * 1000)),
        CountTokens(prompt=ChatPrompt([HI], tools=(Tool(name="f", description="a" * SHORT),))),
    ],
)
def test_long(message: Prepared) -> None:
    assert not is_short(message)


@pytest.mark.parametrize(
    ("message", "instant"),
    [
        (generate(TextPrompt("a" * INSTANT)), True),
        (generate(TextPrompt("a" * (INSTANT + 1))), False),
        (generate(TokenPrompt((1,) * INSTANT)), True),
        (generate(TokenPrompt((1,) * (INSTANT + 1))), False),
        (generate(chat(HI)), False),
        (generate(TextPrompt("a"), "stop"), True),
        (generate(TextPrompt("a"), "stop" * INSTANT), False),
        (Tokenize(text="a" * INSTANT), True),
        (Tokenize(text="a" * (INSTANT + 1)), False),
        (Detokenize(tokens=(1,) * INSTANT), True),
        (Detokenize(tokens=(1,) * (INSTANT + 1)), False),
        (ApplyTemplate(prompt=chat(HI)), False),
        (CountTokens(prompt=chat(HI)), False),
    ],
)
def test_only_a_few_words_are_instant(message: Prepared, instant: bool) -> None:
    assert is_instant(message) == instant


@pytest.mark.parametrize(
    "message",
    [
        Generate(id="g", prompt=TextPrompt("a"), params=SamplingParams(), constraint=FORM),
        Generate(id="g", prompt=chat(HI), params=SamplingParams(), constraint=FORM),
        generate(ChatPrompt([HI], tools=(Tool(name="f"),))),
    ],
)
def test_grammars_have_a_lane_of_their_own(message: Prepared) -> None:
    assert not is_instant(message)
    assert lane_of(message) == "grammars"


def test_a_size_is_found_without_looking_at_all_of_it() -> None:
    messages = [HI] * 1_000_000
    begun = time.process_time()
    assert not is_short(generate(ChatPrompt(messages)))
    assert time.process_time() - begun < 0.1


def test_each_job_shows_while_it_is_done() -> None:
    pulse, here, gate, done = Pulse.make(), threading.Event(), threading.Event(), threading.Event()
    lanes = Lanes(pulse)
    lanes.start()

    def job() -> None:
        here.set()
        gate.wait(60)

    def n_shown() -> int:
        return sum(beat.limit_s < math.inf for beat in pulse.read_jobs())

    assert n_shown() == 0
    lanes.put(job, "long")
    assert here.wait(60)
    assert n_shown() == 1
    gate.set()
    lanes.put(done.set, "long")
    assert done.wait(60)
    end_s = time.monotonic() + 30
    while n_shown() and time.monotonic() < end_s:
        time.sleep(0.001)
    assert n_shown() == 0


def test_there_is_a_place_for_each_thread() -> None:
    assert 3 * N_THREADS + N_GRAMMAR_THREADS == N_PLACES


@pytest.mark.parametrize("lane", ["long", "grammars"])
def test_short_jobs_overtake_others(lane: Lane) -> None:
    lanes, gate, done = Lanes(), threading.Event(), threading.Event()
    lanes.start()
    finished: list[str] = []

    def long() -> None:
        gate.wait(60)
        finished.append("long")
        if len(finished) == N_JOBS + 1:
            done.set()

    for _ in range(N_JOBS):
        lanes.put(long, lane)
    overtaken = threading.Event()

    def short() -> None:
        finished.append("short")
        overtaken.set()

    lanes.put(short, "short")
    assert overtaken.wait(60)
    gate.set()
    assert done.wait(60)
    assert finished == ["short", *["long"] * N_JOBS]
