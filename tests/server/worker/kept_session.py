"""A server's life on a real context, from start to end, with a folder of prefixes that outlives it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.batch import Adapters
from server.engine.engine import Engine, EngineConfig
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.model_spec import AdapterSpec
from server.worker.adapter_set import AdapterSet
from server.worker.open.warm_up import warm_up
from server.worker.prefix.file import Bounds
from server.worker.prefix.key import context_key
from server.worker.prefix.store import PrefixStore, StoreSettings
from server.worker.run.runner import LlamaRunner, RunnerParts
from tests.server.engine.harness import Outcome

N_CTX = 512
_ids = itertools.count()


@dataclass(frozen=True)
class Place:
    """A model, a layout of its memory and a folder: all that a restart leaves as it is."""

    model: Model
    kv_unified: bool
    folder: Path
    adapters: tuple[AdapterSpec, ...] = ()


class Session:
    """A server's life from start to end, with its own context."""

    def __init__(
        self,
        place: Place,
        *,
        n_slots: int = 4,
        keeps: bool = True,
        copy_tokens_min: int = 8,
        checkpoint_bytes: int = 0,
    ) -> None:
        self.context = Context(
            place.model,
            n_ctx=N_CTX * n_slots,
            n_batch=128,
            n_ubatch=64,
            n_seq_max=n_slots,
            n_threads=1,
            kv_unified=place.kv_unified,
            flash_attn="off",
            type_k="f32",
            type_v="f32",
        )
        self.adapters = AdapterSet(place.model)
        for spec in place.adapters:
            self.adapters.load(spec)
        measured = warm_up(self.context, N_CTX)
        can_trim = measured.can_trim
        self.store = self._open(place, can_trim) if keeps else None
        parts = RunnerParts(adapters=self.adapters, states=self.store)
        self.runner = LlamaRunner(
            self.context, N_CTX, can_trim=can_trim, can_rewind=measured.can_rewind, parts=parts
        )
        config = EngineConfig(
            copy_tokens_min=copy_tokens_min, prefill_chunk_tokens=32, checkpoint_bytes=checkpoint_bytes
        )
        self.engine = Engine(self.runner, config, prefixes=self.store)
        self.outcomes: dict[str, Outcome] = {}

    def _open(self, place: Place, can_trim: bool) -> PrefixStore:
        settings = StoreSettings(
            key=context_key([place.model.path], self.context, ("f32", "f32", "off")),
            bounds=Bounds(N_CTX, self.context.n_vocab),
            bytes_per_token=4096.0,
            max_bytes=2**30,
            can_trim=can_trim,
            n_swa=place.model.n_swa,
            adapters_key=self.adapters.key,
        )
        return PrefixStore(place.folder, settings)

    def submit(
        self,
        prompt: list[int],
        max_tokens: int = 12,
        *,
        cache_prompt: bool = True,
        adapters: Adapters = (),
        borders: tuple[int, ...] = (),
    ) -> str:
        name = f"r{next(_ids)}"
        self.outcomes[name] = Outcome()
        params = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
        self.engine.submit(
            EngineRequest(
                id=name,
                prompt_tokens=prompt,
                params=params,
                cache_prompt=cache_prompt,
                return_tokens=True,
                adapters=adapters,
                borders=borders,
            )
        )
        return name

    def step(self) -> None:
        for event in self.engine.step():
            self.outcomes[event.id].take(event)
        self.engine.check_integrity()

    def run(self) -> None:
        deadline_s = time.monotonic() + 60
        while self.engine.has_work:
            self.step()
            assert time.monotonic() < deadline_s

    def tokens(self, name: str) -> list[int]:
        return list(self.outcomes[name].tokens[0])

    def n_cached(self, name: str) -> int:
        return self.outcomes[name].finish.usage.cached_tokens

    def ask(
        self,
        prompt: list[int],
        max_tokens: int = 12,
        *,
        adapters: Adapters = (),
        borders: tuple[int, ...] = (),
    ) -> tuple[list[int], int]:
        """(the tokens said, how many of the prompt's were spared)."""
        name = self.submit(prompt, max_tokens, adapters=adapters, borders=borders)
        self.run()
        return self.tokens(name), self.n_cached(name)

    def end(self) -> None:
        if self.store is not None:
            for kept in self.engine.leftovers():
                self.runner.save(kept)
            assert self.store.flush(30)
            self.store.close()
        self.context.close()


def cold(place: Place, prompt: list[int], max_tokens: int = 12, *, adapters: Adapters = ()) -> list[int]:
    """What a server says that has never seen anything."""
    session = Session(place, n_slots=1, keeps=False)
    said, n_cached = session.ask(prompt, max_tokens, adapters=adapters)
    assert n_cached == 0
    session.end()
    return said


def prompt_of(seed: int, length: int) -> list[int]:
    random = np.random.Generator(np.random.PCG64(seed))
    return [int(token) for token in random.integers(3, 440, length)]
