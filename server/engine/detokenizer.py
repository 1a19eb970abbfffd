"""The detokenizer: bytes of tokens to text, one token at a time, in whole characters."""

from __future__ import annotations

import codecs

_utf8 = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """Incremental UTF-8: bytes fed one at a time give the text of the whole.

    A character that is split over tokens appears when it is whole. Bytes that are no UTF-8 become U+FFFD;
    those of a character that never ends are not shown.
    """

    __slots__ = ("_decoder", "_strip_space")

    def __init__(self, *, strip_leading_space: bool = False) -> None:
        self._decoder = _utf8("replace")
        self._strip_space = strip_leading_space

    def feed(self, piece: bytes) -> str:
        """Return the characters that `piece` completes."""
        text = self._decoder.decode(piece)
        if self._strip_space and text:
            self._strip_space = False
            return text.removeprefix(" ")
        return text

    @property
    def is_within_character(self) -> bool:
        """True if the bytes so far end within a character."""
        return bool(self._decoder.getstate()[0])
