"""Prompts of random common words that no server has seen before, and so none can have cached."""

from __future__ import annotations

import random

WORDS: tuple[str, ...] = tuple(
    """
    river stone light paper window garden silver morning winter letter market bridge yellow forest music
    summer table water green house night story bread horse cloud field glass road ship storm island
    mountain valley cotton copper engine signal harbor candle mirror basket ladder shadow ribbon marble
    orchard lantern meadow
    """.split()  # noqa: SIM905 - lines of words are easier to read
)


def words(n: int, rng: random.Random) -> str:
    """Return `n` words; with 20 or more, no two calls give the same."""
    return " ".join(rng.choices(WORDS, k=n))


def all_words(rng: random.Random) -> str:
    """Return every word once, shuffled: its length in tokens is an average, not a sample."""
    return " ".join(rng.sample(WORDS, len(WORDS)))
