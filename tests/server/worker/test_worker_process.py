"""A real worker process on a tiny model: what it answers, and how it ends in each case."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from server.engine.events import Failure
from server.engine.sampling_params import SamplingParams
from server.ipc.constraint import Constraint
from server.ipc.messages import (
    ApplyTemplate,
    ApplyTemplateReply,
    Cancel,
    ChangeSlot,
    ChangeSlotReply,
    CountTokens,
    CountTokensReply,
    Detokenize,
    DetokenizeReply,
    Drain,
    Generate,
    Stats,
    StatsReply,
    Tokenize,
    TokenizeReply,
)
from server.ipc.prompts import ChatPrompt, TextPrompt, TokenPrompt
from server.worker.worker import IDLE_S
from tests.clients.chat_template import CHAT_TEMPLATE
from tests.server.worker.client import WorkerClient

pytestmark = pytest.mark.model

HELLO = TextPrompt("hello world")
CHAT = ChatPrompt([{"role": "user", "content": "hello"}])


@pytest.fixture(scope="module")
def worker(pico_path: Path) -> Iterator[WorkerClient]:
    with WorkerClient(pico_path) as client:
        client.ready()
        yield client


def ask(name: str, prompt: Any = HELLO, **options: Any) -> Generate:
    params = {"temperature": 0.0, "max_tokens": 8, "ignore_eos": True}
    asked = {key: options.pop(key) for key in list(options) if key in SamplingParams.__struct_fields__}
    return Generate(id=name, prompt=prompt, params=SamplingParams(**(params | asked)), **options)


def test_it_tells_of_the_load_and_then_of_the_model(pico_path: Path) -> None:
    with WorkerClient(pico_path, ctx=100) as client:
        info = client.ready()
        assert client.progress[-1] == 1.0
        assert client.progress == sorted(client.progress)
        assert (info.n_ctx, info.n_parallel, info.n_embd) == (100, 3, 256)
        assert info.prompt_format == "template"
        assert info.n_vocab > 200
        assert info.bos_token is not None


def test_it_leads_a_group_within_the_servers_session(worker: WorkerClient) -> None:
    """A terminal's Ctrl-C doesn't reach it; the processes of the server give way to it."""
    pid = worker.process.pid
    assert os.getpgid(pid) == pid
    assert os.getsid(pid) == os.getsid(0)


def test_it_shows_each_step_and_when_it_waits_for_work(worker: WorkerClient) -> None:
    before = worker.pulse.read().number
    worker.send(ask("shown"))
    worker.finish("shown")
    deadline_s = time.monotonic() + 30
    while not math.isinf((beat := worker.pulse.read()).limit_s):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert beat.number >= before + 2 * 8, "eight steps, each with a begin and an end"


def test_a_completion_a_chat_and_token_ids(worker: WorkerClient) -> None:
    worker.send(ask("text", return_tokens=True, echo=True))
    text = worker.finish("text")
    assert text.text[0].startswith("hello world")
    assert text.finish.usage.completion_tokens == 8
    assert text.ends[0].finish_reason == "length"
    worker.send(ask("chat", CHAT))
    chat = worker.finish("chat")
    tokens = worker.call(Tokenize(id="t", text="user: hello\nassistant:", add_special=True), TokenizeReply)
    assert chat.finish.usage.prompt_tokens == len(tokens.tokens)
    worker.send(ask("tokens", TokenPrompt(tuple(tokens.tokens))))
    assert worker.finish("tokens").text[0].removeprefix(" ") == chat.text[0]


def test_the_small_questions(worker: WorkerClient) -> None:
    tokens = worker.call(Tokenize(id="t", text="hello world", with_pieces=True), TokenizeReply)
    assert tokens.pieces is not None
    assert b"".join(tokens.pieces).decode().strip() == "hello world"
    text = worker.call(Detokenize(id="d", tokens=tuple(tokens.tokens)), DetokenizeReply)
    assert text.text.strip() == "hello world"
    prompt = worker.call(ApplyTemplate(id="a", prompt=CHAT), ApplyTemplateReply)
    assert prompt.prompt == "user: hello\nassistant:"
    counted = worker.call(CountTokens(id="n", prompt=CHAT), CountTokensReply)
    worker.send(ask("g", CHAT))
    assert counted.n_tokens == worker.finish("g").finish.usage.prompt_tokens
    stats = worker.call(Stats(id="s"), StatsReply)
    assert stats.running == stats.waiting == 0
    assert stats.rss_bytes > 2**20
    assert stats.kv_total_tokens == 3 * 256


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Detokenize(id="x", tokens=(10**6,)), "outside"),
        (ApplyTemplate(id="x", prompt=ChatPrompt([])), "at least one message"),
        (ApplyTemplate(id="x", prompt=ChatPrompt(CHAT.messages, prompt_format="nonsense")), "nonsense"),
    ],
)
def test_a_question_that_is_wrong_gets_one_failure(worker: WorkerClient, message: Any, said: str) -> None:
    failure = worker.call(message, Failure)
    assert failure.id == "x"
    assert failure.kind == "invalid_request"
    assert said in failure.message


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        (ask("r", TextPrompt("hello " * 400)), "prompt", "context_length_exceeded"),
        (
            ask("r", ChatPrompt([{"role": "user", "content": "a " * 400}])),
            "messages",
            "context_length_exceeded",
        ),
        (ask("r", TokenPrompt((10**6,))), "prompt", None),
        (ask("r", TokenPrompt(())), "prompt", None),
        (ask("r", top_p=7.0), "top_p", None),
        (ask("r", logit_bias=((10**6, 1.0),)), "logit_bias", None),
    ],
)
def test_a_request_that_is_wrong_fails_and_names_its_parameter(
    worker: WorkerClient, request_: Generate, param: str, code: str | None
) -> None:
    worker.events.clear()
    worker.send(request_)
    failure = worker.finish("r").failure
    assert (failure.kind, failure.param, failure.code) == ("invalid_request", param, code)


def test_a_crowd_gets_its_answers_and_the_same_ones_as_alone(worker: WorkerClient) -> None:
    names = [f"crowd{i}" for i in range(12)]
    for i, name in enumerate(names):
        worker.send(ask(name, TextPrompt(f"word {i}"), max_tokens=20))
    together = [worker.finish(name).text[0] for name in names]
    assert len(set(together)) > 1
    for i, name in enumerate(names):
        worker.send(ask(f"{name} alone", TextPrompt(f"word {i}"), max_tokens=20, cache_prompt=False))
        assert worker.finish(f"{name} alone").text[0] == together[i]


def test_what_a_slot_holds_is_kept_in_a_file_and_brought_back(worker: WorkerClient, tmp_path: Path) -> None:
    prompt = TokenPrompt(tuple(range(5, 65)))

    def cached(name: str, slot: int) -> int:
        worker.send(ask(name, prompt, slot=slot))
        finish = worker.finish(name).finish
        assert finish.usage.completion_tokens == 8
        return finish.usage.cached_tokens

    def change(action: Literal["save", "restore", "erase"], slot: int, file: str = "a.bin") -> Any:
        wish = ChangeSlot(id="slot", action=action, slot=slot, path=str(tmp_path / file))
        return worker.call(wish, ChangeSlotReply)

    def refused(action: Literal["save", "restore", "erase"], slot: int, file: str = "a.bin") -> str:
        wish = ChangeSlot(id="slot", action=action, slot=slot, path=str(tmp_path / file))
        failure = worker.call(wish, Failure)
        assert (failure.id, failure.kind) == ("slot", "invalid_request")
        return failure.message

    change("erase", 1)
    change("erase", 2)
    assert "holds nothing" in refused("save", 1)
    assert cached("in 1", 1) == 0
    saved = change("save", 1)
    assert (saved.n_tokens, saved.n_bytes) == (67, (tmp_path / "a.bin").stat().st_size)
    assert change("erase", 1).n_tokens == 67
    assert cached("in 1 again", 1) == 0
    assert cached("in 2", 2) == 0
    change("erase", 2)
    change("restore", 2)
    assert change("restore", 2).n_tokens == 67, "the later one counts"
    assert cached("in 2 again", 2) == 59
    assert worker.finish("in 2 again").text == worker.finish("in 1").text
    (tmp_path / "b.bin").write_bytes(b"?" * 300)
    assert "isn't of this model" in refused("restore", 0, "b.bin")
    assert "no file" in refused("restore", 0, "c.bin")
    assert "slots are 0 to 2" in refused("erase", 3)


def test_a_slot_in_use_is_changed_when_it_is_idle(worker: WorkerClient) -> None:
    worker.send(ask("busy", max_tokens=100, slot=0))
    worker.until_first_text("busy")
    assert worker.call(ChangeSlot(id="c", action="erase", slot=0), ChangeSlotReply).n_tokens > 100
    assert worker.finish("busy").finish.usage.completion_tokens == 100


def test_cancelling_ends_it_soon(worker: WorkerClient) -> None:
    worker.send(ask("long", max_tokens=200))
    worker.until_first_text("long")
    worker.send(Cancel(id="long"))
    assert worker.finish("long").failure.kind == "cancelled"
    worker.send(ask("after"))
    assert worker.finish("after").finish.usage.completion_tokens == 8


def test_requests_before_it_is_ready_are_told_so(pico_path: Path) -> None:
    with WorkerClient(pico_path) as client:
        client.send(ask("early"))
        client.ready()
        assert client.finish("early").failure.kind == "unavailable"


@pytest.mark.parametrize("broken", ["missing", "garbage", "cut"])
def test_a_bad_file_is_refused_in_order(tmp_path: Path, pico_path: Path, broken: str) -> None:
    path = tmp_path / "bad.gguf"
    if broken == "garbage":
        path.write_bytes(b"GGUF" + b"\xff" * 1000)
    elif broken == "cut":
        path.write_bytes(pico_path.read_bytes()[:-1000])
    with WorkerClient(path) as client:
        refusal = client.refused()
        assert refusal.kind == "InvalidGGUF"
        assert "bad.gguf" in refusal.message
        assert client.process.wait(60) == 3


def test_a_context_that_cant_be_is_refused_in_order(pico_path: Path) -> None:
    with WorkerClient(pico_path, ctx=2**40) as client:
        assert client.refused().kind == "ContextError"


def test_it_ends_when_its_parent_hangs_up(pico_path: Path) -> None:
    with WorkerClient(pico_path) as client:
        client.ready()
        client.send(ask("long", max_tokens=200))
        client.until_first_text("long")
        client.hang_up()
        assert client.process.wait(60) == 0


def test_drain_finishes_what_runs_and_takes_nothing_new(pico_path: Path) -> None:
    with WorkerClient(pico_path) as client:
        client.ready()
        client.send(ask("running", max_tokens=200))
        client.until_first_text("running")
        client.send(Drain(grace_s=30.0))
        client.send(ask("late"))
        assert client.finish("running").finish.usage.completion_tokens == 200
        assert client.finish("late").failure.kind == "unavailable"
        assert isinstance(client.receive(), StatsReply)  # its last figures
        assert client.receive() is None
        assert client.process.wait(60) == 0


def test_drain_gives_up_what_takes_too_long(pico_path: Path) -> None:
    with WorkerClient(pico_path) as client:
        client.ready()
        client.send(ask("running", max_tokens=200))
        client.until_first_text("running")
        client.send(Drain(grace_s=0.0))
        assert client.finish("running").failure.kind == "unavailable"
        assert client.process.wait(60) == 0


def test_sigterm_drains_and_sigint_does_nothing(pico_path: Path) -> None:
    with WorkerClient(pico_path) as client:
        client.ready()
        client.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        client.send(ask("running", max_tokens=50))
        client.until_first_text("running")
        client.process.send_signal(signal.SIGTERM)
        assert client.finish("running").finish.usage.completion_tokens == 50
        assert client.process.wait(60) == 0


def test_sigterm_ends_an_idle_worker(pico_path: Path) -> None:
    with WorkerClient(pico_path) as client:
        client.ready()
        client.process.send_signal(signal.SIGTERM)
        assert client.process.wait(60) == 0


def grammar_processes(client: WorkerClient) -> list[psutil.Process]:
    """The worker's children that make grammars."""
    children = psutil.Process(client.process.pid).children()
    return [child for child in children if "constraints.checker" in " ".join(child.cmdline())]


def test_a_model_with_calls_makes_ready_for_them_while_it_is_idle(tmp_path: Path) -> None:
    with WorkerClient(tool_model(tmp_path)) as client:
        client.ready()
        assert grammar_processes(client) == [], "the load doesn't wait for it"
        deadline = time.monotonic() + 30
        while not grammar_processes(client) and time.monotonic() < deadline:
            time.sleep(0.05)
        (child,) = grammar_processes(client)
        client.send(ask("form", constraint=Constraint(kind="choice", text='["abc"]', param="choice")))
        assert client.finish("form").text[0] == "abc"
        assert grammar_processes(client) == [child]
        client.process.send_signal(signal.SIGTERM)
        assert client.process.wait(60) == 0
        assert not child.is_running()


def test_the_first_form_may_come_before_it_is_ready(tmp_path: Path) -> None:
    with WorkerClient(tool_model(tmp_path)) as client:
        client.ready()
        for name in "ab":
            client.send(ask(name, constraint=Constraint(kind="choice", text='["abc"]', param="choice")))
        assert [client.finish(name).text[0] for name in "ab"] == ["abc", "abc"]
        assert len(grammar_processes(client)) == 1


def test_a_model_without_calls_starts_nothing(pico_path: Path) -> None:
    with WorkerClient(pico_path) as client:
        client.ready()
        time.sleep(IDLE_S + 0.5)
        assert grammar_processes(client) == []


def tool_model(folder: Path) -> Path:
    """A tiny model whose template has calls."""
    return write_tiny_gguf(folder / "tools.gguf", TinyModel(chat_template=CHAT_TEMPLATE))
