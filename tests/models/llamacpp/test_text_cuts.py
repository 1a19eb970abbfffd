"""Cuts between special tokens, against llama.cpp's way of finding them, written down letter by letter."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.llamacpp import text_cuts
from models.llamacpp.text_cuts import SpecialToken, TextCuts, longest_of

OVERLAPPING = [
    b"  ",
    b"   ",
    b"    ",
    b"\n\n",
    b"ab",
    b"bc",
    b"abc",
    b"<s>",
    b"</s>",
    b"<s",
    b"s><",
    b"aa",
    b"aaa",
]


def found(data: bytes, tokens: list[SpecialToken]) -> list[bytes]:
    """Do as `tokenizer_st_partition` does: each token, the longest first, in all that is left of the text.

    Special tokens are marked by a NUL before them.
    """
    pieces = [(False, data)]
    for token in sorted(tokens, key=lambda token: len(token.text), reverse=True):
        split: list[tuple[bool, bytes]] = []
        for special, piece in pieces:
            rest: bytes | None = piece
            while rest is not None and not special and (at := rest.find(token.text)) >= 0:
                left = rest[:at].rstrip() if token.strips_left else rest[:at]
                right = rest[at + len(token.text) :]
                split += [(False, left), (True, token.text)]
                rest = (right.lstrip() if token.strips_right else right) or None
            if rest:
                split.append((special, rest))
        pieces = [(special, piece) for special, piece in split if piece]
    return [b"\0" + piece if special else piece for special, piece in pieces]


@st.composite
def _tokens(draw: st.DrawFn) -> list[SpecialToken]:
    texts = draw(st.lists(st.sampled_from(OVERLAPPING), min_size=1, max_size=8, unique=True))
    strips = draw(st.booleans())
    flag = st.booleans() if strips else st.just(False)
    return [SpecialToken(text, draw(flag), draw(flag)) for text in texts]


texts = st.lists(st.sampled_from([*OVERLAPPING, b" ", b"a", b"x", b"<", b">"]), max_size=40).map(b"".join)


@given(texts, _tokens(), st.sampled_from([1, 2, 5, 20]))
def test_the_parts_have_what_the_whole_has(data: bytes, tokens: list[SpecialToken], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_cuts, "PART_BYTES", size)
        parts = list(TextCuts(tokens).parts(data))
    assert b"".join(parts) == data
    for order in (tokens, tokens[::-1]):  # whichever of two of one length comes first
        assert [piece for part in parts for piece in found(part, order)] == found(data, order)


def test_a_token_that_stands_alone_is_where_texts_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cuts, "PART_BYTES", 4)
    cuts = TextCuts([SpecialToken(b"</s>"), SpecialToken(b"<s>")])
    assert list(cuts.parts(b"ab</s>cd</s>ef<s>g")) == [b"ab</s>cd", b"</s>ef", b"<s>g"]
    assert list(cuts.parts(b"no token at all")) == [b"no token at all"]
    assert list(TextCuts([]).parts(b"</s></s></s>")) == [b"</s></s></s>"]


def test_runs_of_spaces_are_cut_where_their_tokens_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cuts, "PART_BYTES", 4)
    cuts = TextCuts([SpecialToken(b" " * n) for n in (2, 3)])
    assert list(cuts.parts(b"a" + b" " * 11)) == [b"a" + b" " * 3, b" " * 6, b" " * 2]


@pytest.mark.parametrize("unit", [b"a</s>", b"  a", b" ", b"<s></s>", b"<", b"</s"])
def test_parts_stay_short_where_tokens_are_many_and_the_time_grows_with_the_length(unit: bytes) -> None:
    cuts = TextCuts(
        [SpecialToken(b"</s>"), SpecialToken(b"<s>"), *(SpecialToken(b" " * n) for n in range(2, 25))]
    )
    begun = time.process_time()
    parts = list(cuts.parts(unit * (1 << 20) if len(unit) == 1 else unit * (1 << 18)))
    assert time.process_time() - begun < 10
    if unit in (b"<", b"</s"):
        assert len(parts) == 1
    else:
        assert max(map(len, parts)) < 2 * text_cuts.PART_BYTES


@given(
    st.lists(st.text("ab<|>", min_size=1, max_size=6), min_size=1, max_size=30), st.text("ab<|>", max_size=12)
)
def test_the_expression_matches_the_longest(choices: list[str], text: str) -> None:
    match = re.match(longest_of(choice.encode() for choice in choices), text.encode())
    longest = max((choice for choice in choices if text.startswith(choice)), key=len, default=None)
    assert (match and match[0].decode()) == longest
