"""Prefixes of real models, shared and kept: whatever a prompt is spared, its greedy tokens are a cold run's.

All in F32, with four kinds of memory: a KV cache, a sliding window, a recurrent state, two of them mixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import CorralError, LlamaCppError
from models.llamacpp.model import Model
from server.engine.batch import Adapters, Batch, Output, Restore, Save
from server.ipc.model_spec import AdapterSpec
from server.worker.run.runner import LlamaRunner
from tests.adapter_gguf import adapter_tensors, write_adapter_gguf
from tests.memory_models import (
    N_WINDOW,
    write_hybrid_gguf,
    write_recurrent_gguf,
    write_windowed_gguf,
)
from tests.server.worker.kept_session import Place, Session, cold, prompt_of

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def models(pico_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Model]]:
    folder = tmp_path_factory.mktemp("kinds")
    paths = {
        "plain": pico_path,
        "window": write_windowed_gguf(folder / "window.gguf"),
        "recurrent": write_recurrent_gguf(folder / "recurrent.gguf"),
        "hybrid": write_hybrid_gguf(folder / "hybrid.gguf"),
    }
    loaded = {kind: Model.load(path) for kind, path in paths.items()}
    yield loaded
    for model in loaded.values():
        model.close()


@pytest.fixture(params=["plain", "window", "recurrent", "hybrid"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["streams", "unified"])
def place(request: pytest.FixtureRequest, kind: str, models: dict[str, Model], tmp_path: Path) -> Place:
    return Place(models[kind], request.param, tmp_path / "prefixes")


def test_a_chat_goes_on_after_a_restart(place: Place) -> None:
    prompt = prompt_of(1, 300)
    before = Session(place)
    said, _ = before.ask(prompt)
    before.end()
    after = Session(place)
    longer = [*prompt, *said[:-1], 7, 8, 9]
    again, n_cached = after.ask(longer)
    assert n_cached == len(prompt) + len(said) - 1
    assert again == cold(place, longer)
    after.end()


def test_what_was_computed_with_adapters_after_a_restart(models: dict[str, Model], tmp_path: Path) -> None:
    """Ids are given anew then: it is the files that count."""
    first = str(write_adapter_gguf(tmp_path / "first.gguf", adapter_tensors(seed=1)))
    second = str(write_adapter_gguf(tmp_path / "second.gguf", adapter_tensors(seed=2)))
    place = Place(
        models["plain"], False, tmp_path / "prefixes", (AdapterSpec(0, first), AdapterSpec(1, second))
    )
    prompt = prompt_of(1, 300)
    before = Session(place)
    said, _ = before.ask(prompt, adapters=((0, 1.0),))
    before.end()
    swapped = replace(place, adapters=(AdapterSpec(0, second), AdapterSpec(1, first)))
    after = Session(swapped)
    longer = [*prompt, *said[:-1], 7, 8, 9]
    expected: list[tuple[Adapters, int]] = [(((1, 1.0),), 311), (((0, 1.0),), 0), (((1, 0.5),), 0), ((), 0)]
    for adapters, n_expected in expected:
        again, n_cached = after.ask(longer, adapters=adapters)
        assert n_cached == n_expected
        assert again == cold(swapped, longer, adapters=adapters)
    after.end()


def test_the_same_prompt_after_a_restart(place: Place, kind: str) -> None:
    prompt = prompt_of(2, 300)
    before = Session(place)
    said, _ = before.ask(prompt)
    before.end()
    after = Session(place)
    again, n_cached = after.ask(prompt)
    assert n_cached == (299 if kind == "plain" else 0), "the others can't go back to before what was said"
    assert again == said == cold(place, prompt)
    after.end()


def test_a_turn_without_the_thoughts_after_a_restart(place: Place, kind: str) -> None:
    prompt = prompt_of(9, 300)
    before = Session(place, checkpoint_bytes=1 << 24)
    said, _ = before.ask(prompt, 60, borders=(290,))
    before.end()
    after = Session(place, checkpoint_bytes=1 << 24)
    following = [*prompt, *said[50:], 7, 8, 9]
    again, n_cached = after.ask(following, borders=(len(following) - 2,))
    assert n_cached == (300 if kind == "plain" else 290)
    assert again == cold(place, following)
    once_more, n_cached = after.ask([*prompt[:292], 7, 8, 9])
    assert n_cached == (292 if kind in ("plain", "window") else 290), (
        "what came from the disk has its checkpoints"
    )
    assert once_more == cold(place, [*prompt[:292], 7, 8, 9])
    after.end()


def test_what_is_overwritten_and_hot_is_kept(place: Place) -> None:
    prompts = [prompt_of(seed, 300) for seed in range(3)]
    session = Session(place, n_slots=1)
    for prompt in prompts:
        said, _ = session.ask(prompt, 1)
        again, n_cached = session.ask([*prompt, said[0], 5], 4)
        assert n_cached >= 300, "it was used again"
        assert again == cold(place, [*prompt, said[0], 5], 4)
    assert session.store is not None
    assert session.store.flush(30)
    assert len(session.store) == 2
    first = [*prompts[0], *cold(place, prompts[0], 1), 5]
    longer = [*first, *cold(place, first, 4)[:3], 6]
    again, n_cached = session.ask(longer)
    assert n_cached == len(longer) - 1
    assert again == cold(place, longer)
    session.end()


def test_restoring_beside_others_that_run(place: Place) -> None:
    prompts = [prompt_of(seed, 280 + seed) for seed in range(3)]
    before = Session(place)
    said = [before.ask(prompt, 1)[0] for prompt in prompts]
    before.end()
    after = Session(place)
    longer = [[*prompt, *tokens, 9] for prompt, tokens in zip(prompts, said, strict=True)]
    running = after.submit(prompt_of(9, 40), 60)
    for _ in range(3):
        after.step()
    names = [after.submit(prompt) for prompt in longer] + [after.submit(longer[0])]
    after.run()
    assert after.tokens(running) == cold(place, prompt_of(9, 40), 60)
    for name, prompt in zip(names, [*longer, longer[0]], strict=True):
        assert after.tokens(name) == cold(place, prompt)
    assert [after.n_cached(name) >= 280 for name in names[:3]] == [True] * 3
    after.end()


def test_a_state_that_llama_cpp_refuses_is_computed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = prompt_of(4, 300)
    before = Session(place)
    said, _ = before.ask(prompt)
    before.end()
    after = Session(place)

    def refuse(seq_id: int, state: memoryview) -> None:
        raise LlamaCppError(f"{len(state)} bytes are refused for {seq_id}")

    monkeypatch.setattr(after.context, "state_seq_set", refuse)
    longer = [*prompt, *said]
    again, n_cached = after.ask(longer)
    assert n_cached == 0
    assert again == cold(place, longer)
    assert after.engine.stats.cached_tokens_total == 0
    after.end()


def test_a_refused_state_and_its_copies(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests for the same kept prefix in one step: the second was to copy from the first."""
    prompt = prompt_of(5, 300)
    before = Session(place)
    said, _ = before.ask(prompt)
    before.end()
    after = Session(place)
    other = after.submit(prompt_of(6, 30), 40)
    after.step()
    monkeypatch.setattr(after.context, "state_seq_set", lambda _id, _state: None)  # nothing is there after it
    names = [after.submit([*prompt, *said, last]) for last in (5, 6)]
    after.run()
    assert [after.tokens(name) for name in names] == [cold(place, [*prompt, *said, last]) for last in (5, 6)]
    assert after.tokens(other) == cold(place, prompt_of(6, 30), 40)
    after.end()


def test_prompts_that_are_not_to_be_cached_are_not_kept(place: Place) -> None:
    session = Session(place)
    session.submit(prompt_of(7, 300), cache_prompt=False)
    session.run()
    session.end()
    assert session.store is not None
    assert len(session.store) == 0


@pytest.mark.parametrize("kind", ["window"])
def test_a_window_that_has_moved_on_is_not_reused(place: Place) -> None:
    """Restored, only the window is there: a prompt that leaves the chat before it is computed from its start,
    also while the chat goes on in the slot."""
    prompt = prompt_of(8, 300)
    before = Session(place)
    said, _ = before.ask(prompt)
    before.end()
    after = Session(place)
    longer = [*prompt, *said, 7]
    chat = after.submit(longer, 30)
    for _ in range(4):
        after.step()
    earlier = [*prompt[: 300 - 2 * N_WINDOW], 5, 5, 5]
    name = after.submit(earlier)
    after.run()
    assert after.n_cached(chat) == len(longer) - 2
    assert after.n_cached(name) == 0
    assert after.tokens(name) == cold(place, earlier)
    again, _ = after.ask(earlier)
    assert again == cold(place, earlier)
    after.end()


@pytest.mark.parametrize("kind", ["plain"])
def test_saves_come_before_what_overwrites_them(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(place, n_slots=1)
    changes: list[object] = []
    run = LlamaRunner.run

    def note(runner: LlamaRunner, batch: Batch) -> list[Output | CorralError]:
        changes.extend(batch.memory)
        return run(runner, batch)

    monkeypatch.setattr(LlamaRunner, "run", note)
    first = prompt_of(1, 300)
    session.ask(first)
    session.ask([*first, 5])
    session.ask(prompt_of(2, 300))
    assert isinstance(changes[-2], Save)
    assert session.store is not None
    assert session.store.flush(30)
    session.ask([*first, 6])
    assert isinstance(changes[-1], Restore)
    session.end()
