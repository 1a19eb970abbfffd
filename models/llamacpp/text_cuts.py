"""`TextCuts`: the places where a text can be cut so that its parts have the tokens of the whole.

llama.cpp walks over all pieces of a text for each special token that it finds there: `"a</s>"` 40,000 times
takes 6 s, and twice that takes 24 s. Cut into short parts, each with few special tokens, the same text takes
a time that grows with its length. What becomes of a part stays llama.cpp's own work.

A cut lies where a special token begins that llama.cpp finds for certain. It looks for the longest token in
the whole text first, then for the next shorter one in what is left, and so on. So a token that no other can
overlap is always found (`</s>`, `<|im_start|>`). Which of those are found that overlap (runs of spaces) is
found by doing the same as llama.cpp with the bytes that hang together. Everything here is pure, on bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PART_BYTES = 1024
"""A part gets about this many bytes where special tokens are frequent; a part without them may be longer."""

_SLICE_BYTES = 65536  # one search holds the GIL: about a millisecond
_WHITESPACE = b" \t\n\v\f\r"


@dataclass(frozen=True)
class SpecialToken:
    """A token that llama.cpp looks for in a text before anything else."""

    text: bytes
    strips_left: bool = False
    """The whitespace before it is dropped."""
    strips_right: bool = False
    """The whitespace after it is dropped."""


class TextCuts:
    """The cuts of texts with certain special tokens. What it remembers is the same for all threads."""

    def __init__(self, tokens: Iterable[SpecialToken]) -> None:
        """`tokens` are those that are looked for; one without text is ignored."""
        self._tokens = {token.text: token for token in tokens if token.text}
        self._longest = max(map(len, self._tokens), default=0)
        self._pattern = re.compile(longest_of(self._tokens)) if self._tokens else None
        self._by_length = sorted(self._tokens, key=len, reverse=True)
        self._beginnings = {text[:n] for text in self._tokens for n in range(1, len(text))}
        self._ends = {text[n:] for text in self._tokens for n in range(1, len(text))}
        self._joined = b"\xff".join(self._tokens)  # no byte of UTF-8
        self._strips = any(token.strips_left or token.strips_right for token in self._tokens.values())
        self._certain: dict[bytes, bool] = {}

    def parts(self, data: bytes) -> Iterator[bytes]:
        """Yield `data` in parts, each with few special tokens, that have together the tokens of the whole."""
        start = 0
        for cut in self._cuts(data):
            yield data[start:cut]
            start = cut
        yield data[start:]

    def _cuts(self, data: bytes) -> Iterator[int]:
        """Yield the cuts, ascending, each at least `PART_BYTES` after the last."""
        at, border = PART_BYTES, 0  # no special token reaches over the border
        while self._pattern is not None and at < len(data):
            token = self._token_from(self._pattern, data, at)
            if token is None:
                return
            if self._is_certain(token[0]):
                border = token.start()
                yield border
            else:
                cuts, border = self._cuts_among_overlapping(self._pattern, data, border, at)
                yield from cuts
            at = max(at, border) + PART_BYTES

    def _token_from(self, pattern: re.Pattern[bytes], data: bytes, at: int) -> re.Match[bytes] | None:
        """Return a token from `at` on: of the first and those right after it one that is certain, if any is.

        None if there is no token any more.
        """
        first: re.Match[bytes] | None = None
        while first is None and at < len(data):
            first = pattern.search(data, at, at + _SLICE_BYTES + self._longest)
            at += _SLICE_BYTES
        if first is None:
            return None
        for token in pattern.finditer(data, first.start(), first.start() + PART_BYTES + self._longest):
            if self._is_certain(token[0]):
                return token
        return first

    def _is_certain(self, text: bytes) -> bool:
        """True if the token is found wherever it stands, and the text before it doesn't depend on it."""
        known = self._certain.get(text)
        if known is None:
            known = self._certain[text] = self._stands_alone(text)
        return known

    def _stands_alone(self, text: bytes) -> bool:
        if self._tokens[text].strips_left or text[:1] in _WHITESPACE or text[-1:] in _WHITESPACE:
            return False
        lengths = range(1, len(text))
        if any(text[n:] in self._beginnings or text[:n] in self._ends for n in lengths):
            return False  # another one can overlap it, or it can overlap itself
        return self._joined.count(text) == 1  # no longer one holds it

    # --- tokens that overlap ---

    def _cuts_among_overlapping(
        self, pattern: re.Pattern[bytes], data: bytes, border: int, at: int
    ) -> tuple[list[int], int]:
        """Return cuts at the first tokens from `at` on, and a border after them."""
        while border < len(data):
            first = pattern.search(data, border, border + _SLICE_BYTES + self._longest)
            if first is None or first.start() >= border + _SLICE_BYTES:
                border = min(border + _SLICE_BYTES, len(data))
                continue
            border = self._end_of_overlaps(pattern, data, first)
            if border > at:
                cuts = self._cuts_within(data, first.start(), border, at)
                if cuts or border > at + PART_BYTES:
                    return cuts, border
        return [], border

    def _end_of_overlaps(self, pattern: re.Pattern[bytes], data: bytes, first: re.Match[bytes]) -> int:
        """Return where the tokens end that overlap `first`, those that overlap them, and so on."""
        end, text = first.end(), first[0]
        if self._is_certain(text):
            return end
        position = first.start() + 1
        if len(text) > 1 and text == text[:1] * len(text):  # a run of spaces: each overlaps the next
            run = re.compile(re.escape(text[:1]) + b"*").match(data, end)
            end = end if run is None else run.end()
            position = max(position, end - self._longest)
        while position < end:
            other = pattern.match(data, position)
            if other is not None:
                end = max(end, other.end())
            position += 1
        return end

    def _cuts_within(self, data: bytes, start: int, end: int, at: int) -> list[int]:
        """Return cuts from `at` on, of those between `start` and `end`, where tokens hang together."""
        cuts: list[int] = []
        if self._strips:
            return cuts  # the whitespace that one strips may be another
        for position in self._found(data[start:end]):
            if start + position >= at:
                cuts.append(start + position)
                at = start + position + PART_BYTES
        return cuts

    def _found(self, region: bytes) -> list[int]:
        """Return where llama.cpp finds a token in `region`; nowhere if that isn't certain.

        It isn't where two tokens of one length can overlap: which of them comes first is nowhere said.
        """
        letters = frozenset(region)
        found: list[int] = []
        gaps = [(0, len(region))]
        for text in self._by_length:
            if len(text) > len(region) or not letters.issuperset(text):
                continue
            n_before, gaps = len(found), list(_without(region, gaps, text, found))
            if len(found) > n_before and self._has_rival(text):
                return []
        return sorted(found)

    def _has_rival(self, text: bytes) -> bool:
        """True if another token of the same length can overlap this one."""
        rivals = (other for other in self._by_length if len(other) == len(text) and other != text)
        return any(_overlap(text, other) or _overlap(other, text) for other in rivals)


def _without(
    region: bytes, gaps: list[tuple[int, int]], text: bytes, found: list[int]
) -> Iterator[tuple[int, int]]:
    """Yield what is left of the gaps where `text` has been taken out; add its places to `found`."""
    for first, end in gaps:
        begin = first
        while (at := region.find(text, begin, end)) >= 0:
            if at > begin:
                yield begin, at
            found.append(at)
            begin = at + len(text)
        if begin < end:
            yield begin, end


def _overlap(left: bytes, right: bytes) -> bool:
    """Return True if `left` can end with the beginning of `right`."""
    return any(left.endswith(right[:n]) for n in range(1, len(right)))


# --- the expression -----------------------------------------------------------------------------------------


def longest_of(texts: Iterable[bytes]) -> bytes:
    """Return an expression that matches the longest of `texts` at a place, without trying one by one."""
    return _branches(sorted(set(texts)), 0)


def _branches(texts: list[bytes], depth: int) -> bytes:
    """Return the expression of the rest, from `depth` on, of sorted texts that agree before it."""
    optional = len(texts[0]) == depth
    branches: list[bytes] = []
    begin = int(optional)
    while begin < len(texts):
        end = begin + 1
        while end < len(texts) and texts[end][depth] == texts[begin][depth]:
            end += 1
        shared = _shared_length(texts[begin], texts[end - 1], depth)
        rest = _branches(texts[begin:end], shared) if end - begin > 1 else b""
        branches.append(re.escape(texts[begin][depth:shared]) + rest)
        begin = end
    if len(branches) == 1 and not optional:
        return branches[0]
    return b"(?:" + b"|".join(branches) + b")" + (b"?" if optional else b"")


def _shared_length(first: bytes, last: bytes, depth: int) -> int:
    """Return the length up to which the first and the last of sorted texts agree."""
    end = min(len(first), len(last))
    while depth < end and first[depth] == last[depth]:
        depth += 1
    return depth
