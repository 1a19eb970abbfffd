"""DRY samplers are made once for their settings, and a copy has all of the one that was made."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest

from models.llamacpp import dry_samplers
from models.llamacpp.dry_samplers import DrySamplers, DrySettings
from models.llamacpp.model import Model
from models.llamacpp.sampler import SamplerChain

pytestmark = pytest.mark.model

SETTINGS = DrySettings(2.0, 1.75, 2, 64, ("a", "b"))


class CountingLibrary:
    """llama.cpp, with a count of the samplers that were made and freed."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self.n_made = self.n_freed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def llama_sampler_init_dry(self, *arguments: Any) -> Any:
        self.n_made += 1
        return self._native.llama_sampler_init_dry(*arguments)

    def llama_sampler_free(self, pointer: Any) -> None:
        self.n_freed += 1
        self._native.llama_sampler_free(pointer)


def counting(samplers: DrySamplers) -> CountingLibrary:
    library = CountingLibrary(samplers._native)
    samplers._native = cast("Any", library)
    return library


def test_all_choices_of_a_request_copy_one(pico: Model) -> None:
    samplers = DrySamplers(pico.vocab.pointer)
    library = counting(samplers)
    samplers.prepare(SETTINGS)
    for pointer in [samplers.copy(SETTINGS) for _ in range(128)]:
        library.llama_sampler_free(pointer)
    assert (library.n_made, library.n_freed) == (1, 128)
    samplers.prepare(SETTINGS._replace(breakers=("b", "a")))
    assert library.n_made == 2


def test_only_so_many_are_kept(pico: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_samplers, "_N_KEPT", 2)
    samplers = DrySamplers(pico.vocab.pointer)
    library = counting(samplers)
    for base in (1.1, 1.2, 1.1, 1.3, 1.1, 1.2):
        samplers.prepare(SETTINGS._replace(base=base))
    assert (library.n_made, library.n_freed) == (4, 2), "the one that was used last stays"


@pytest.mark.parametrize(("breakers", "penalized"), [((), True), (("$7",), False)])
def test_a_copy_has_the_breakers(breakers: tuple[str, ...], penalized: bool, pico: Model) -> None:
    """After 5 6 7 8 … 5 6 7 the token 8 would extend the repetition, unless 7 breaks it."""
    texts = tuple(pico.vocab.piece(7, special=True).decode("latin-1") if b == "$7" else b for b in breakers)
    logits = np.full(pico.vocab.n_tokens, -math.inf, np.float32)
    logits[:10] = 0.0
    for _ in range(2):
        with SamplerChain(pico.vocab, 1, 64) as chain:
            chain.add_dry(2.0, 1.75, 2, -1, texts)
            chain.add_distribution()
            for token in (5, 6, 7, 8, 9, 5, 6, 7):
                chain.accept(token)
            left = chain.apply(logits)
        share = dict(zip(left.ids.tolist(), left.probabilities.tolist(), strict=True))
        assert (share[8] < share[4] / 5) == penalized
