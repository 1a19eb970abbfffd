"""`SPMCuts`: cuts inside ordinary text for SentencePiece vocabularies, with the tokens of the whole.

llama.cpp merges the letters of such a text pair by pair, and copies all tokens so far for each letter that
the vocabulary doesn't have: a megabyte of them takes minutes. A merge always gives a token. So between two
letters that stand side by side in no token nothing is ever merged, and the text may be cut there.

Before a text llama.cpp puts a space, which doesn't belong before the rest of one. So a rest is given to it
after `marker`, a letter that is merged with nothing, and the tokens of both are dropped again. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise

PART_LETTERS = 1024
"""A part gets about this many letters."""

_BETWEEN = "\ud800"  # no text that is tokenized has it
_MARKERS = [chr(code) for code in (*range(1, 9), *range(14, 32), *range(0xE000, 0xE100))]
_WHITESPACE = " \t\n\v\f\r"
_BATCH = 2000  # tokens read at once; bounds how long other threads wait


class SPMCuts:
    """The cuts in texts of one vocabulary. Immutable."""

    def __init__(
        self,
        texts: Sequence[str],
        specials: Sequence[str],
        *,
        strips_left: bool = False,
        strips_right: bool = False,
    ) -> None:
        """`texts` are those of all tokens; `specials` are looked for before all else, and may strip
        whitespace before or after them."""
        self._pairs: set[tuple[str, str]] = set()
        letters: set[str] = set()
        rest = iter((*texts, *specials))
        while batch := _BETWEEN.join(islice(rest, _BATCH)):
            self._pairs.update(pairwise(batch))
            letters.update(batch)
        self._specials = tuple(text for text in specials if text)
        self._strips_left, self._strips_right = strips_left, strips_right
        self.marker: str | None = next((letter for letter in _MARKERS if letter not in letters), None)
        """A letter of no token; None in a vocabulary that has them all, where nothing can be cut."""

    def parts(self, text: str) -> Iterator[str]:
        """Yield `text` in parts. All but the first are to be tokenized after `marker`."""
        start = 0
        while self.marker is not None and len(text) - start > PART_LETTERS:
            cut = self._cut(text, start, start + PART_LETTERS)
            if cut is None:
                break
            yield text[start:cut]
            start = cut
        yield text[start:]

    def _cut(self, text: str, start: int, at: int) -> int | None:
        """Return the first cut from `at` on, in a part that begins at `start`; None: there is none."""
        left = _escaped(text[at - 1])
        for position in range(at, len(text)):
            right = _escaped(text[position])
            if (left, right) not in self._pairs and self._is_within_text(text, start, position):
                return position
            left = right
        return None

    def _is_within_text(self, text: str, start: int, position: int) -> bool:
        """True if no special token has an effect here: none ends here, none strips the whitespace here."""
        if self._strips_left and (text[position - 1] in _WHITESPACE or text[position] in _WHITESPACE):
            return False
        before = text[start:position]
        if self._strips_right:
            before = before.rstrip(_WHITESPACE)
        return not before.endswith(self._specials)


def _escaped(letter: str) -> str:
    return "▁" if letter == " " else letter
