"""`InfillPrompts`: the tokens of a text with a gap, cut to what the context has room for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.llamacpp.fill_tokens import FillTokens, fill_tokens
from models.llamacpp.vocab import Vocab
from server.engine.request import too_long_error
from server.ipc.prompts import InfillPrompt

_BLOCK = 256
"""A text is cut at its beginning by a multiple of so many tokens: it begins at the same place for many
keystrokes, and the prefix cache knows it."""
_MOST_CHARS = 1 << 20
"""A longer text is tokenized only next to the gap: no context holds more."""
_BLOCK_CHARS = 1 << 16
_MARKER = "\N{WHITE SMILING FACE}"
"""A text behind this one is tokenized without the space that SentencePiece puts before a text; transformers
and mistral-common do the same."""
_REPOSITORY, _FILE = "myproject", "filename"
_SNIPPET = "\n\n--- snippet ---\n\n"
"""llama-server's words: the names of what has no name in a request, and the mark of other files' texts for a
model without a token for it."""


@dataclass(frozen=True, slots=True)
class InfillTokens:
    """A prompt's tokens, and the number of the text's tokens that had no room."""

    tokens: list[int]
    n_left_out: int


class InfillPrompts:
    """Makes prompts of `InfillPrompt`s with one model's vocabulary. Any thread."""

    def __init__(self, vocab: Vocab, n_ctx: int) -> None:
        self._vocab = vocab
        self._n_ctx = n_ctx

    def tokens(self, prompt: InfillPrompt, max_tokens: int | None) -> InfillTokens:
        """Return the prompt's tokens, with room in the context for the answer.

        What is next to the gap is kept: the prefix's end, the suffix's beginning, the other texts' end.
        Raises RequestError for a model that can't fill in, ContextLengthExceeded where even the answer's own
        beginning has no room.
        """
        marks = fill_tokens(self._vocab, prompt.param)
        begun = self._plain(prompt.begun, marks, follows=True)
        prefix = self._plain(_last(prompt.prefix), marks)
        suffix = self._plain(prompt.suffix[:_MOST_CHARS], marks, follows=True)
        header, extra = self._others(prompt, marks)
        begin, _ = self._vocab.added_tokens if self._vocab.add_bos else ([], [])
        middle = [] if marks.middle is None else [marks.middle]
        n_frame = len(begin) + len(header) + 2 + len(middle) + len(begun)
        wanted = self._n_ctx // 4 if max_tokens is None else max_tokens
        room = self._n_ctx - n_frame - max(1, min(wanted, self._n_ctx // 2))
        if room < 0:
            raise too_long_error(self._n_ctx, n_frame, 1 if max_tokens is None else max_tokens, "prompt")
        n_text = len(prefix) + len(suffix) + len(extra)
        suffix = suffix[: max(room // 4, room - len(prefix))]
        prefix = _cut(prefix, room - len(suffix))
        extra = _cut(extra, room - len(suffix) - len(prefix))
        n_left_out = n_text - len(prefix) - len(suffix) - len(extra)
        before, after = [marks.prefix, *prefix, *begun], [marks.suffix, *suffix]
        suffix_first = marks.suffix_first if prompt.suffix_first is None else prompt.suffix_first
        parts = [*after, *before] if suffix_first else [*before, *after]
        return InfillTokens([*begin, *header, *extra, *parts, *middle], n_left_out)

    def _others(self, prompt: InfillPrompt, marks: FillTokens) -> tuple[list[int], list[int]]:
        """Return the repository's name, and the other files' texts up to the name of the one with the gap."""
        header: list[int] = []
        tokens: list[int] = []
        if prompt.in_repository and marks.repository is not None:
            header = [marks.repository, *self._plain(f"{_REPOSITORY}\n", marks)]
        for text in prompt.extra:
            if marks.file is None:
                tokens += self._plain(_SNIPPET, marks)
            else:
                tokens += [marks.file, *self._plain(f"{text.filename}\n", marks)]
            tokens += self._plain(_last(text.text), marks)
        if prompt.in_repository and marks.file is not None:
            tokens += [marks.file, *self._plain(f"{_FILE}\n", marks)]
        return header, tokens

    def _plain(self, text: str, marks: FillTokens, *, follows: bool = False) -> list[int]:
        """Return the tokens of a client's text, in which no mark is one; `follows`: text stands before it."""
        tokens = self._tokens(text, follows=follows)
        if not marks.all.intersection(tokens):
            return tokens
        names = {self._vocab.piece(mark, special=True).decode("utf-8", "replace") for mark in marks.all}
        parts = _cut_within(text, names)  # the file says that the marks are found in any text
        apart = [self._tokens(part, follows=follows or i > 0) for i, part in enumerate(parts)]
        return [token for tokens in apart for token in tokens if token not in marks.all]

    def _tokens(self, text: str, *, follows: bool) -> list[int]:
        if not text:
            return []
        if follows and self._vocab.type == "spm":
            marker = self._vocab.tokenize(_MARKER, add_special=False, parse_special=False)
            tokens = self._vocab.tokenize(_MARKER + text, add_special=False, parse_special=False)
            if tokens[: len(marker)] == marker:
                return tokens[len(marker) :]
        return self._vocab.tokenize(text, add_special=False, parse_special=False)


def _cut_within(text: str, names: Iterable[str]) -> list[str]:
    """Return the text in parts, none of which has one of the names whole."""
    pattern = re.compile("|".join(re.escape(name) for name in names if name))
    cuts = [0, *(found.start() + 1 for found in pattern.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


def _last(text: str) -> str:
    """Return the end of a text that no context has room for, from a place that stays while it grows."""
    return text[_blocks(len(text) - _MOST_CHARS, _BLOCK_CHARS) :]


def _cut(tokens: Sequence[int], room: int) -> list[int]:
    """Return the last tokens, at most `room`, from a place that stays while the text grows."""
    block = max(1, min(_BLOCK, room // 8))
    return list(tokens[_blocks(len(tokens) - room, block) :])


def _blocks(n: int, size: int) -> int:
    """Return the least multiple of `size` that is `n` or more, and no less than 0."""
    return max(0, -(-n // size) * size)
