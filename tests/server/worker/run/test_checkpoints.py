"""Going back to a kept state, in F32: models that can't be trimmed say what they say without any cache."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Speculation
from server.worker.open.warm_up import warm_up
from server.worker.run.kv_layout import KVLayout
from server.worker.run.runner import LlamaRunner, RunnerParts
from tests.memory_models import write_hybrid_gguf, write_recurrent_gguf, write_windowed_gguf
from tests.server.engine.harness import Outcome
from tests.server.worker.session import Session as PlainSession
from tests.server.worker.session import f32_context, random_prompt

pytestmark = pytest.mark.model

WRITERS: dict[str, Callable[[Path], Path]] = {
    "hybrid": write_hybrid_gguf,
    "recurrent": write_recurrent_gguf,
    "window": write_windowed_gguf,
    "short window": write_windowed_gguf,
}
SPACING = 32
N_CTX = 900
_ids = itertools.count()


@dataclass(frozen=True, slots=True)
class Memory:
    """A model, and whether the layers that have a window keep the cells of all tokens."""

    model: Model
    swa_full: bool

    def context(self, **sizes: Any) -> Context:
        return f32_context(self.model, swa_full=self.swa_full, **sizes)


@pytest.fixture(scope="module", params=WRITERS)
def memory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    path = WRITERS[request.param](tmp_path_factory.mktemp("memory") / "model.gguf")
    with Model.load(path) as loaded:
        yield Memory(loaded, swa_full=request.param != "short window")


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model.load(write_windowed_gguf(tmp_path_factory.mktemp("window") / "model.gguf")) as loaded:
        yield loaded


class Session(PlainSession):
    """A session with checkpoints, whose requests may have more tokens."""

    def __init__(
        self,
        context: Context,
        *,
        checkpoint_bytes: int = 1 << 24,
        shares_later: bool = False,
        guesses: bool = False,
    ) -> None:
        measured = warm_up(context, N_CTX)
        layout = KVLayout(context, None, lambda: 1 << 40) if shares_later else None
        runner = LlamaRunner(
            context,
            N_CTX,
            can_trim=measured.can_trim,
            can_rewind=measured.can_rewind,
            parts=RunnerParts(layout=layout),
        )
        super().__init__(
            context,
            Speculation(NgramProposer(), draft_max=7) if guesses else None,
            runner,
            copy_tokens_min=8,
            checkpoint_tokens=SPACING,
            checkpoint_bytes=checkpoint_bytes,
            divide_after_steps=4,
        )

    def send(self, prompt: list[int], n_said: int = 8, border: int | None = None, n: int = 1) -> str:
        """Submit a prompt whose last turn ends at `border`."""
        name = f"turn{next(_ids)}"
        self.outcomes[name] = Outcome()
        self.engine.submit(
            EngineRequest(
                id=name,
                prompt_tokens=prompt,
                params=SamplingParams(temperature=0.0, max_tokens=n_said, ignore_eos=True),
                n=n,
                borders=() if border is None else (border,),
                return_tokens=True,
            )
        )
        return name

    def said(self, name: str) -> list[int]:
        return list(self.outcomes[name].tokens[0])

    def n_computed(self, name: str) -> int:
        """The number of the prompt's tokens that were computed."""
        return self.outcomes[name].finish.timings.prompt_n


def cold(model: Model, prompt: list[int], n_said: int = 8) -> list[int]:
    """Return what a server says that has never seen anything and keeps nothing."""
    with f32_context(model, n_cells=1024) as context:
        session = Session(context, checkpoint_bytes=0)
        name = session.send(prompt, n_said)
        session.run()
        assert not session.engine.stats.checkpoints
        return session.said(name)


def test_ten_turns_without_their_thoughts_cost_what_is_new_and_a_spacing(memory: Memory) -> None:
    words = random_prompt(3, 1000, memory.model.vocab.n_tokens)
    opening = words[-4:]
    with memory.context(n_seq_max=2, n_cells=2048) as context:
        session = Session(context)
        history, n_with, n_without = words[:40], 0, 0
        shown = 0
        for turn in range(10):
            history = [*history, *words[100 + 20 * turn : 120 + 20 * turn]]
            prompt = [*history, *opening]
            name = session.send(prompt, 40, border=len(history))
            session.run()
            said = session.said(name)
            assert said == cold(memory.model, prompt, 40)
            n_new = len(prompt) - shown
            assert session.n_computed(name) <= n_new + SPACING
            n_with += session.n_computed(name)
            n_without += len(prompt)
            shown = len(prompt)
            history = [*prompt, *said[-10:]]  # all before were thoughts
        assert 2 * n_with < n_without
        assert memory.model.n_swa or session.engine.stats.rewinds_total == 9


@pytest.mark.parametrize("swa_full", [True, False], ids=["all", "window"])
def test_a_window_goes_back_after_its_cells_were_divided_anew(windowed: Model, swa_full: bool) -> None:
    """The state that moves to the new cells has nothing before the window."""
    chat = random_prompt(8, 150, windowed.vocab.n_tokens)
    with f32_context(windowed, n_seq_max=2, n_cells=1024, swa_full=swa_full) as context:
        session = Session(context, shares_later=True)
        name = session.send([*chat, 5, 6], 60, border=len(chat))
        session.run()
        session.send(random_prompt(9, 520, windowed.vocab.n_tokens), 1)
        session.run()
        following = [*chat, 5, 6, *session.said(name)[-5:], *random_prompt(10, 20, windowed.vocab.n_tokens)]
        name = session.send(following, border=len(following) - 3)
        session.run()
        assert session.engine.stats.rewinds_total == 1
        assert session.n_computed(name) == len(following) - len(chat)
        assert session.said(name) == cold(windowed, following)


@pytest.mark.parametrize("kv_unified", [False, True], ids=["streams", "unified"])
def test_choices_and_slots_share_a_prompt_up_to_its_last_border(memory: Memory, kv_unified: bool) -> None:
    prompt = random_prompt(4, 90, memory.model.vocab.n_tokens)
    other = [*prompt[:70], *random_prompt(5, 30, memory.model.vocab.n_tokens)]
    wanted = [cold(memory.model, one) for one in (prompt, other)]
    with memory.context(n_seq_max=4, n_cells=1024, kv_unified=kv_unified) as context:
        session = Session(context)
        first = session.send(prompt, border=70, n=3)
        session.run()
        assert all(list(said) == wanted[0] for said in session.outcomes[first].tokens.values())
        assert session.n_computed(first) < 2 * len(prompt)
        names = [session.send(other, border=95), session.send(prompt, border=70)]
        session.run()
        assert [session.said(name) for name in names] == wanted[::-1]
        assert sum(map(session.n_computed, names)) < 60


def test_a_window_costs_only_its_own_cells(windowed: Model) -> None:
    """What lies before the window is lost, and a slot goes back by its checkpoints alone."""
    words = random_prompt(11, 700, windowed.vocab.n_tokens)
    with f32_context(windowed, n_seq_max=2, n_cells=2048, swa_full=False) as context:
        session = Session(context)
        session.send(words[:600], border=590)
        session.run()
        first = context.seq_pos_min(0)
        assert first is not None
        assert first > 200
        edited = [*words[:300], *words[600:]]
        name = session.send(edited, border=395)
        session.run()
        assert session.engine.stats.rewinds_total == 1
        assert session.n_computed(name) <= len(edited) - 300 + SPACING
        assert session.said(name) == cold(windowed, edited)


def test_states_are_bounded(memory: Memory) -> None:
    with memory.context(n_seq_max=2, n_cells=1024) as context:
        session = Session(context)
        session.send(random_prompt(6, 70, memory.model.vocab.n_tokens), border=66)
        session.run()
        n_bytes = session.engine.stats.checkpoint_bytes
        assert session.engine.stats.checkpoints >= 1
    with memory.context(n_seq_max=2, n_cells=1024) as context:
        session = Session(context, checkpoint_bytes=n_bytes)
        for seed in range(8):
            session.send(random_prompt(seed, 150, memory.model.vocab.n_tokens), border=140)
            session.run()
            assert 0 < session.engine.stats.checkpoint_bytes <= n_bytes


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.thorough) for n in range(2, 6))])
def test_random_turns_say_what_they_say_without_any_cache(memory: Memory, seed: int) -> None:
    chance = random.Random(seed)
    n_vocab = memory.model.vocab.n_tokens
    can_share_later = memory.model.n_swa > 0 and chance.random() < 0.5
    n_slots = chance.choice([1, 2, 4])
    n_cells = 1024 if can_share_later else 1024 * n_slots
    kv_unified = not can_share_later and chance.random() < 0.5
    with memory.context(n_seq_max=n_slots, n_cells=n_cells, kv_unified=kv_unified) as context:
        session = Session(
            context,
            checkpoint_bytes=chance.choice([10_000, 200_000, 1 << 24]),
            shares_later=can_share_later,
            guesses=chance.random() < 0.5,
        )
        chats = [random_prompt(100 + seed * 10 + i, 30, n_vocab) for i in range(3)]
        asked: dict[str, tuple[list[int], int]] = {}
        cancelled: set[str] = set()
        for round_ in range(4):
            latest: dict[str, int] = {}
            for i in range(len(chats)):
                chats[i] += random_prompt(chance.randrange(1000), chance.randint(1, 60), n_vocab)
                border = len(chats[i])
                prompt = [*chats[i], 5, 6, 7][:280]
                name = session.send(prompt, chance.choice([1, 20, 60]), min(border, len(prompt) - 1))
                asked[name] = prompt, len(prompt)
                latest[name] = i
                for _ in range(chance.randrange(6)):
                    session.step()
                if chance.random() < 0.15:
                    session.engine.cancel(name)
                    cancelled.add(name)
                if chance.random() < 0.2 and session.engine._scheduler.running:
                    session.engine._scheduler._preempt(session.engine._scheduler.running[-1])
            session.run()
            for name, i in latest.items():
                if name in cancelled:
                    continue
                said = session.said(name)
                assert said == cold(memory.model, asked[name][0], len(said)), (round_, name)
                kept = said[chance.randrange(len(said)) :] if chance.random() < 0.7 else said
                chats[i] = [*asked[name][0], *kept]
                if chance.random() < 0.2:
                    chats[i] = chats[i][: chance.randint(10, len(chats[i]))]
