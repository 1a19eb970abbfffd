"""Turn documents into windows of tokens, without padding; each document begins with BOS."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.demo.training.corpus.formats import Segment

Window = tuple[NDArray[np.int64], NDArray[np.bool_]]


def encode(tokenizer: Tokenizer, document: list[Segment]) -> tuple[list[int], list[bool]]:
    """Token ids with BOS, and for each whether the model is to learn it.

    The text is encoded as a whole, as a prompt is when served; a token that reaches over the border of an
    answer is not learned.
    """
    encoding = tokenizer.encode("".join(text for text, _ in document))
    learned_characters: list[bool] = []
    for text, learn in document:
        learned_characters += [learn] * len(text)
    learn = [end > start and all(learned_characters[start:end]) for start, end in encoding.offsets]
    return encoding.ids, learn


class Packer:
    """Cuts a stream of documents into windows of any length; nothing is dropped between two calls."""

    def __init__(self, tokenizer: Tokenizer, documents: Iterator[list[Segment]]) -> None:
        self._tokenizer = tokenizer
        self._documents = documents
        self._tokens: list[int] = []
        self._learn: list[bool] = []

    def take(self, rows: int, length: int) -> Window:
        """Tokens [rows, length + 1] int64 and, for the targets [rows, length], whether each is learned."""
        needed = rows * (length + 1)
        while len(self._tokens) < needed:
            tokens, learn = encode(self._tokenizer, next(self._documents))
            self._tokens += tokens
            self._learn += learn
        tokens_out = np.array(self._tokens[:needed], dtype=np.int64).reshape(rows, length + 1)
        learn_out = np.array(self._learn[:needed], dtype=np.bool_).reshape(rows, length + 1)[:, 1:]
        del self._tokens[:needed], self._learn[:needed]
        return tokens_out, learn_out
