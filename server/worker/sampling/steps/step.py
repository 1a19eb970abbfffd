"""Step, the contract of a sampler, and Adjuster, of the work that NumPy does before all others.

A request's samplers are a list of steps, in the order of `server.worker.sampling.chain.STEPS`. Each step can
add itself to llama.cpp's chain; the fast path is recognised from what all steps of a list say of themselves
(`server.worker.sampling.fast_path`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import inf
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from models.errors import CorralError
from models.llamacpp.sampler import SamplerChain
from server.engine.sampling_params import SamplingParams

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


Fast = Literal["argmax", "candidates", "whole_row"]
"""The ways of sampling that are quicker than llama.cpp's chain over a whole row, and may give its tokens.

argmax: NumPy takes the first entry with the row's maximum. candidates: llama.cpp's chain goes over the few
entries that a bound leaves. whole_row: `whole_row` draws from all entries in NumPy.
"""


class Bound(NamedTuple):
    """A limit below which a step at the front of the list drops entries, whatever their probabilities are."""

    top_k: int = 0
    """Only the `top_k` largest entries stay; 0 is no limit."""
    floor: float = -inf
    """Only logits that are above the row's maximum plus `floor`, a negative number, stay."""


class Adjuster(ABC):
    """One sequence's changes to its logits, which NumPy makes before the other steps. One thread."""

    changes: ClassVar[bool] = False
    """True if each token changes what is added: then a draft's rows are adjusted one after the other."""

    @abstractmethod
    def __init__(self, params: SamplingParams, prompt_tokens: Sequence[int]) -> None: ...

    @classmethod
    @abstractmethod
    def adjust(cls, logits: Floats, rows: Sequence[int], adjusters: Sequence[Self]) -> None:
        """Change logits [R, V] in place: row `rows[i]` by `adjusters[i]`. A row is named once."""

    @abstractmethod
    def accept(self, token: int) -> None:
        """Count `token` as the sequence's latest one. Called only if `changes`."""

    @abstractmethod
    def error(self, row: Floats) -> CorralError | None:
        """Return the error of an adjusted row [V] without a finite maximum, if the request is its cause."""


class Step(ABC):
    """One sampler under a request's parameters, which have been checked."""

    fields: ClassVar[tuple[str, ...]]
    """The fields of SamplingParams that belong to this sampler and to no other."""
    fast: ClassVar[frozenset[Fast]] = frozenset()
    """The ways that give this sampler's tokens; none if it depends on the whole row or on tokens before."""
    picks: ClassVar[bool] = False
    """True if the sampler picks the token: no step comes after it."""
    adjuster: ClassVar[type[Adjuster] | None] = None
    """The class that does the step's work in NumPy before the other steps, if there is one."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params

    @property
    def has_replay(self) -> bool:
        """True if its state is a function of the tokens: of their ids, and of their number."""
        return True

    @property
    @abstractmethod
    def is_active(self) -> bool:
        """True if the parameters make it do anything."""

    @abstractmethod
    def add(self, chain: SamplerChain) -> None:
        """Append the sampler to `chain`."""

    @property
    def bound(self) -> Bound | None:
        """The limit that NumPy can apply instead, to find the candidates of a row; None if there is none."""
        return None

    @property
    def n_recent(self) -> int:
        """Tokens of the prompt's end that the chain must accept before its first pick."""
        return 0
