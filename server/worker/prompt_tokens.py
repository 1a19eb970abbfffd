"""`PromptTokens`: a prompt's text, with or without images, as tokens, and whether they have room."""

from __future__ import annotations

from models.llamacpp.vocab import Vocab
from server.engine.images import ImageSpan
from server.worker.images.reader import SeenImages, shifted

COUNTED_LETTERS = 65_536
"""A longer prompt that doesn't fit isn't counted to its end."""

LONG_TOKEN_LETTERS = 4
"""A long prompt is measured by its bytes if it has more letters than this for each token of the context."""


class PromptTokens:
    """Tokenizes prompts of one model, in whose context `n_ctx` tokens have room. Any thread."""

    def __init__(self, vocab: Vocab, n_ctx: int) -> None:
        self._vocab = vocab
        self._n_ctx = n_ctx

    def of(
        self, text: str, *, add_special: bool, parse_special: bool = True, enough: int | None = None
    ) -> list[int]:
        """Return the tokens of `text`; BOS and EOS aren't added to a text that has them already.

        `enough`: there may be fewer of them than all, if that many and more.
        """
        own = self._vocab.tokenize(text, add_special=False, parse_special=parse_special, enough=enough)
        return self._with_added(own) if add_special else own

    def is_long(self, text: str) -> bool:
        """Return True for a text that isn't counted to its end where it doesn't fit."""
        return len(text) > COUNTED_LETTERS

    def too_many(self, text: str) -> int | None:
        """Return the least tokens of a long text, by its bytes, if they have no room; None: they may."""
        if len(text) <= max(COUNTED_LETTERS, LONG_TOKEN_LETTERS * self._n_ctx):
            return None
        n_least = self._vocab.least_tokens(text)
        return n_least if n_least > self._n_ctx else None

    def with_images(
        self, seen: SeenImages, text: str, *, add_special: bool
    ) -> tuple[list[int], tuple[ImageSpan, ...]]:
        """Return the tokens of a text with images' marks, and where the images are among them."""
        own, images = seen.tokens(text, lambda part: self.of(part, add_special=False))
        if not add_special:
            return own, images
        begin = self._vocab.added_tokens[0]
        has_begin = own[: len(begin)] == begin
        return self._with_added(own), images if has_begin else shifted(images, len(begin))

    def within(
        self, text: str, room: int, seen: SeenImages | None = None, *, add_special: bool
    ) -> list[int] | None:
        """Return the tokens of a text, its images' included; None if they are more than `room`."""
        if self.is_long(text) and self._vocab.least_tokens(text) > room:
            return None
        if seen is not None:
            tokens, _ = self.with_images(seen, text, add_special=add_special)
        else:
            tokens = self.of(text, add_special=add_special, enough=room)
        return tokens if len(tokens) <= room else None

    def _with_added(self, own: list[int]) -> list[int]:
        """Return a text's tokens with those that the tokenizer adds to a text."""
        begin, end = self._vocab.added_tokens
        has_begin, has_end = own[: len(begin)] == begin, own[len(own) - len(end) :] == end
        return [*([] if has_begin else begin), *own, *([] if has_end else end)]
