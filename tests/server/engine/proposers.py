"""Proposers that know what the scripted model will say, and are right as often as a test wants."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from server.engine.sequence import Sequence
from tests.server.engine.scripted_runner import N_VOCAB, next_token


def next_of(sequence: Sequence, held: list[int]) -> int:
    """Return the scripted model's token for this sequence after `held`, seeded or greedy."""
    request = sequence.group.request
    params = request.params
    seed = 0 if params.temperature <= 0 else (params.seed or 0) + sequence.index
    n_generated = len(held) - sequence.n_prompt
    ban_eog = params.ignore_eos or n_generated < params.min_tokens
    return next_token(held, seed, ban_eog=ban_eog, adapters=request.adapters)


@dataclass
class Oracle:
    """Guesses each next token rightly with probability `share`; as long a draft as it may, or shorter."""

    share: float
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    guess_s: float = 0.0
    start_s: float = 0.0
    shorter: float = 0.0
    """Probability of a shorter guess, or none at all."""
    closed: set[int] = field(default_factory=set)
    n_calls: int = 0

    def propose(self, wanted: list[tuple[Sequence, int]]) -> list[list[int]]:
        return [self.guess(sequence, n) for sequence, n in wanted]

    def rest(self, n_steps: int) -> None:
        pass

    def close(self, sequence: Sequence) -> None:
        assert sequence.id not in self.closed or sequence.n_slides  # it is another text then
        self.closed.add(sequence.id)

    def guess(self, sequence: Sequence, n: int) -> list[int]:
        """Return at most `n` tokens that may follow the sequence's last one."""
        assert n > 0
        assert sequence.id not in self.closed or sequence.n_slides
        self.n_calls += 1
        if self.chance.random() < self.shorter:
            n = self.chance.randrange(n)
        held = list(sequence.tokens)
        for _ in range(n):
            token = next_of(sequence, held)
            if self.chance.random() >= self.share:
                token = (token + 1) % N_VOCAB
            held.append(token)
        return held[len(sequence.tokens) :]
