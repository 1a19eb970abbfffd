"""LoRA adapters under the real engine and in a real worker, in F32: who shares the steps changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.errors import CorralError, LlamaCppError, RequestError
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.batch import Adapters, Batch, Output
from server.engine.engine import Engine, EngineConfig
from server.engine.events import Failure, Finish
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import AdapterReply, Cancel, Generate, LoadAdapter, UnloadAdapter
from server.ipc.model_spec import AdapterSpec
from server.ipc.prompts import TextPrompt
from server.worker.adapter_set import AdapterSet
from server.worker.open.warm_up import warm_up
from server.worker.run.runner import LlamaRunner, RunnerParts
from tests.adapter_gguf import adapter_tensors, write_adapter_gguf
from tests.server.engine.harness import Outcome
from tests.server.worker.client import Answer, WorkerClient

pytestmark = pytest.mark.model

N_CTX = 256
PROMPT = [1, *range(40, 90)]
OTHER = [1, *range(120, 160)]
SETS: tuple[Adapters, ...] = ((), ((0, 1.0),), ((1, 1.0),), ((0, 0.5), (1, -1.0)), ((0, 2.0),))


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> tuple[AdapterSpec, AdapterSpec]:
    folder = tmp_path_factory.mktemp("adapters")
    first = write_adapter_gguf(folder / "first.gguf", adapter_tensors(seed=1))
    second = write_adapter_gguf(folder / "second.gguf", adapter_tensors(seed=2, rank=8, targets=("attn_v",)))
    return AdapterSpec(0, str(first)), AdapterSpec(1, str(second))


class NotingRunner(LlamaRunner):
    """Remembers the adapters of each step."""

    __slots__ = ("steps",)

    def __init__(self, context: Context, adapters: AdapterSet) -> None:
        can_trim = warm_up(context, N_CTX).can_trim
        super().__init__(context, N_CTX, can_trim=can_trim, parts=RunnerParts(adapters=adapters))
        self.steps: list[Adapters] = []

    def run(self, batch: Batch) -> list[Output | CorralError]:
        self.steps.append(batch.adapters)
        return super().run(batch)


class Session:
    """An engine on a real context with two adapters; remembers the adapters of each step."""

    def __init__(self, model: Model, specs: tuple[AdapterSpec, ...], **config: Any) -> None:
        self.context = Context(
            model,
            n_ctx=N_CTX * 6,
            n_batch=128,
            n_ubatch=64,
            n_seq_max=6,
            n_threads=1,
            flash_attn="off",
            type_k="f32",
            type_v="f32",
        )
        self.adapters = AdapterSet(model)
        for spec in specs:
            self.adapters.load(spec)
        self.runner = NotingRunner(self.context, self.adapters)
        self.engine = Engine(self.runner, EngineConfig(**config))
        self.outcomes: dict[str, Outcome] = {}

    def submit(self, name: str, prompt: list[int], adapters: Adapters, **params: Any) -> None:
        self.outcomes[name] = Outcome()
        options: dict[str, Any] = {"temperature": 0.0, "max_tokens": 20, "ignore_eos": True, **params}
        request = EngineRequest(
            id=name,
            prompt_tokens=prompt,
            params=SamplingParams(**options),
            return_tokens=True,
            adapters=adapters,
        )
        self.adapters.begin(request)
        self.engine.submit(request)

    def step(self) -> None:
        events = self.engine.step()
        for event in events:
            self.outcomes[event.id].take(event)
        self.adapters.note(events)
        self.engine.check_integrity()

    def run(self) -> None:
        while self.engine.has_work:
            self.step()

    def tokens(self, name: str) -> list[int]:
        assert isinstance(self.outcomes[name].terminal, Finish)
        return list(self.outcomes[name].tokens[0])

    def alone(self, prompt: list[int], adapters: Adapters) -> list[int]:
        self.submit("alone", prompt, adapters)
        self.run()
        return self.tokens("alone")


@pytest.fixture
def session(model: Model, specs: tuple[AdapterSpec, ...]) -> Iterator[Session]:
    made = Session(model, specs)
    yield made
    made.context.close()


def alone(model: Model, specs: tuple[AdapterSpec, ...], prompt: list[int], adapters: Adapters) -> list[int]:
    made = Session(model, specs)
    try:
        return made.alone(prompt, adapters)
    finally:
        made.context.close()


def test_mixed_requests_say_what_each_says_alone(
    session: Session, model: Model, specs: tuple[AdapterSpec, ...]
) -> None:
    asked = [
        (f"{place}-{i}", prompt, adapters)
        for place, prompt in enumerate((PROMPT, OTHER))
        for i, adapters in enumerate(SETS)
    ]
    for name, prompt, adapters in asked:
        session.submit(name, prompt, adapters)
        session.step()
    session.run()
    meant = {name: alone(model, specs, prompt, adapters) for name, prompt, adapters in asked}
    assert {name: session.tokens(name) for name, _, _ in asked} == meant
    assert len({tuple(tokens) for tokens in meant.values()}) == len(asked), (
        "every set should say something else"
    )


def test_equal_sets_share_steps_and_others_take_turns(session: Session) -> None:
    for name, adapters in {"a": SETS[1], "b": SETS[2], "c": SETS[1], "d": ()}.items():
        session.submit(name, PROMPT, adapters)
    session.run()
    counts = {adapters: session.runner.steps.count(adapters) for adapters in set(session.runner.steps)}
    assert set(counts) == {SETS[1], SETS[2], ()}
    # 20 tokens each: two that share take about as many steps as one alone
    assert all(20 <= count <= 23 for count in counts.values()), counts


def test_the_prefix_cache_keeps_them_apart(
    session: Session, model: Model, specs: tuple[AdapterSpec, ...]
) -> None:
    """The same prompt with and without an adapter, one after the other: nothing of the other's is taken."""
    for i, adapters in enumerate((*SETS, *SETS)):
        name = f"r{i}"
        session.submit(name, PROMPT, adapters)
        session.run()
        cached = session.outcomes[name].finish.usage.cached_tokens
        assert cached == (0 if i < len(SETS) else len(PROMPT) - 1)
        assert session.tokens(name) == alone(model, specs, PROMPT, adapters)


def test_unknown_and_missing_adapters(session: Session) -> None:
    with pytest.raises(RequestError, match="adapter 7 is not loaded") as error:
        session.submit("x", PROMPT, ((0, 1.0), (7, 1.0)))
    assert error.value.param == "lora"
    with pytest.raises(LlamaCppError, match="adapter 7 is not loaded"):
        session.adapters.use(session.context, ((7, 1.0),))


def test_one_is_freed_when_the_last_request_with_it_has_ended(session: Session) -> None:
    session.submit("long", PROMPT, SETS[3])
    session.step()
    session.adapters.leave(1, "call")
    with pytest.raises(RequestError):
        session.submit("late", PROMPT, SETS[2])
    session.submit("other", PROMPT, SETS[1])
    while session.outcomes["long"].terminal is None:
        assert session.adapters.free() == []
        session.step()
    assert session.adapters.free() == ["call"]
    session.run()
    assert session.tokens("other") == session.alone(PROMPT, SETS[1])
    with pytest.raises(LlamaCppError):
        session.adapters.use(session.context, SETS[2])


def test_one_that_nobody_uses_is_freed_at_once_also_while_it_is_set(session: Session) -> None:
    meant = session.alone(PROMPT, ())
    session.alone(PROMPT, SETS[2])  # the context still has it set
    session.adapters.leave(1, "first")
    session.adapters.leave(1, "second")
    assert session.adapters.free() == ["first", "second"]
    assert session.adapters.free() == []
    assert session.alone(PROMPT, ()) == meant
    session.adapters.leave(1, "again")
    assert session.adapters.free() == ["again"]


# --- the process -------------------------------------------------------------------------------------------


def ask(name: str, adapters: Adapters, **params: Any) -> Generate:
    options: dict[str, Any] = {"temperature": 0.0, "max_tokens": 8, "ignore_eos": True, **params}
    prompt, params_ = TextPrompt("hello world the cat"), SamplingParams(**options)
    return Generate(id=name, prompt=prompt, params=params_, adapters=adapters, return_tokens=True)


def say(client: WorkerClient, name: str, adapters: Adapters, **params: Any) -> Answer:
    client.send(ask(name, adapters, **params))
    return client.finish(name)


def test_a_worker_is_started_with_adapters(pico_path: Path, specs: tuple[AdapterSpec, ...]) -> None:
    with WorkerClient(pico_path, adapters=specs) as client:
        client.ready()
        plain = say(client, "plain", ()).tokens
        assert say(client, "first", SETS[1]).tokens != plain
        assert say(client, "none", ()).tokens == plain
        refused = say(client, "unknown", ((9, 1.0),)).failure
        assert (refused.kind, refused.param) == ("invalid_request", "lora")


def test_a_worker_refuses_to_start_with_one_that_does_not_fit(pico_path: Path, tmp_path: Path) -> None:
    path = write_adapter_gguf(tmp_path / "qwen.gguf", architecture="qwen2")
    with WorkerClient(pico_path, adapters=(AdapterSpec(0, str(path)),)) as client:
        refusal = client.refused()
    assert refusal.kind == "InvalidGGUF"
    assert "'qwen2' and the model has 'llama'" in refusal.message


def test_loading_and_unloading_while_requests_run(
    pico_path: Path, specs: tuple[AdapterSpec, ...], tmp_path: Path
) -> None:
    with WorkerClient(pico_path) as client:
        client.ready()
        client.send(ask("long", (), max_tokens=200))
        client.until_first_text("long")
        client.call(LoadAdapter("l1", specs[0]), AdapterReply)
        client.call(LoadAdapter("l2", specs[0]), AdapterReply)  # it is there: fine
        changed = say(client, "with", SETS[1])
        bad = AdapterSpec(5, str(write_adapter_gguf(tmp_path / "bad.gguf", kind="model")))
        refused = client.call(LoadAdapter("l3", bad), Failure)
        assert (refused.kind, refused.param) == ("invalid_request", "path")
        client.send(ask("busy", SETS[1], max_tokens=200))
        client.until_first_text("busy")
        client.send(UnloadAdapter("u1", 0))
        assert say(client, "late", SETS[1]).failure.param == "lora"
        client.send(Cancel("busy"))
        while not isinstance(reply := client.receive(), AdapterReply):
            assert reply is not None
            client.events += reply.events  # type: ignore[union-attr]
        assert reply.id == "u1"
        assert client.finish("busy").failure.kind == "cancelled", "the adapter stayed as long as its request"
        assert client.finish("long").finish.usage.completion_tokens == 200
        assert say(client, "plain", ()).tokens != changed.tokens
        client.call(UnloadAdapter("u2", 0), AdapterReply)
