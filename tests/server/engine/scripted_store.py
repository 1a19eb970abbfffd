"""A PrefixSource over what a ScriptedRunner was given to save. It takes its time, and refuses, by chance."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from server.engine.batch import Adapters
from server.engine.prefix.prefix_source import StoredPrefix
from server.engine.prefix.radix_tree import common_prefix
from tests.server.engine.scripted_runner import ScriptedRunner


@dataclass
class ScriptedStore:
    runner: ScriptedRunner
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    quick: float = 0.5
    """Probability that a prefix is ready when it is asked for."""
    willing: float = 1.0
    """Probability that a prefix is wanted."""
    ready: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)

    def longest(self, tokens: list[int], adapters: Adapters, least: int) -> StoredPrefix | None:
        best: StoredPrefix | None = None
        for key, kept in self.runner.saved.items():
            if kept.adapters != adapters or key in self.runner.damaged & self.ready:
                continue
            n = common_prefix(kept.tokens, tokens, len(tokens) - 1)
            if n < len(kept.tokens) and not self._can_cut:
                n = max((one.n_tokens for one in kept.checkpoints if one.n_tokens <= n), default=0)
            if n and n >= least and (best is None or n > best.n_tokens):
                best = StoredPrefix(key, n, ready=False)
        if best is None:
            return None
        if best.key in self.asked or self.chance.random() < self.quick:
            self.ready.add(best.key)
        self.asked.add(best.key)
        if best.key not in self.ready:
            return StoredPrefix(best.key, best.n_tokens, ready=False)
        checkpoints = self.runner.saved[best.key].checkpoints
        return StoredPrefix(best.key, best.n_tokens, ready=True, checkpoints=checkpoints)

    def wants(self, tokens: list[int], adapters: Adapters, *, beside_others: bool) -> bool:
        known = any(
            kept.tokens == tokens and kept.adapters == adapters for kept in self.runner.saved.values()
        )
        return not known and self.chance.random() < self.willing

    def wait(self) -> None:
        self.ready |= self.asked

    @property
    def _can_cut(self) -> bool:
        return self.runner.can_trim and not self.runner.n_swa
