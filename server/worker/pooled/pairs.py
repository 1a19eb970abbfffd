"""`PairFormat`: two texts as the one that a classifier reads, joined as transformers do. Pure.

BERT           [CLS] a [SEP] b [SEP]
RoBERTa, XLM-R <s> a </s> </s> b </s>
Qwen3          the file's template, with {query} and {document}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

QUERY, DOCUMENT = "{query}", "{document}"


@dataclass(frozen=True)
class PairFormat:
    """The tokens before, between and after two texts."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def n_tokens(self) -> int:
        """The number of tokens beside those of the texts."""
        return len(self.before) + len(self.between) + len(self.after)

    def joined(self, first: Sequence[int], second: Sequence[int]) -> tuple[list[int], int]:
        """Return the tokens of a pair, and the number of those before the second text."""
        start = [*self.before, *first, *self.between]
        return [*start, *second, *self.after], len(start)


@dataclass(frozen=True)
class PairTemplate:
    """A file's own text around two texts; it is tokenized with them in it, as its model was trained."""

    text: str
    tokenize: Callable[[str], list[int]]

    def tokens(self, query: str, document: str) -> list[int]:
        """Return the tokens of a pair."""
        parts = []
        rest = self.text
        while (at := _first(rest)) is not None:
            start, mark, value = *at, query if at[1] == QUERY else document
            parts += [rest[:start], value]
            rest = rest[start + len(mark) :]
        return self.tokenize("".join([*parts, rest]))


def _first(text: str) -> tuple[int, str] | None:
    """Return the place of the first mark in a text, and which it is."""
    found = [(text.find(mark), mark) for mark in (QUERY, DOCUMENT) if mark in text]
    return min(found) if found else None
