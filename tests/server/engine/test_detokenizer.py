from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.detokenizer import Detokenizer
from tests.server.engine.harness import whole_characters


@given(st.binary(max_size=60))
def test_one_byte_at_a_time_equals_the_whole(data: bytes) -> None:
    detokenizer = Detokenizer()
    assert "".join(detokenizer.feed(bytes([byte])) for byte in data) == whole_characters(data)


@given(st.text(max_size=40), st.lists(st.integers(1, 5), max_size=40))
def test_any_split_of_valid_text_gives_the_text(text: str, sizes: list[int]) -> None:
    data = text.encode("utf-8", "ignore")  # hypothesis knows lone surrogates too
    detokenizer = Detokenizer()
    shown, at = "", 0
    for size in [*sizes, len(data)]:
        shown += detokenizer.feed(data[at : at + size])
        assert "�" not in shown or "�" in text
        at += size
    assert shown == data.decode()


def test_a_character_over_three_tokens_appears_once_whole() -> None:
    detokenizer = Detokenizer()
    assert [detokenizer.feed(piece) for piece in (b"\xf0\x9f", b"\xa6", b"\x99!")] == ["", "", "🦙!"]


def test_invalid_bytes_become_replacement_characters() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.feed(b"a\xffb") == "a�b"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([b" Paris"], "Paris"),
        ([b"", b"  two"], " two"),
        ([b"Paris", b" is"], "Paris is"),
        ([b" ", b" x"], " x"),
    ],
)
def test_one_leading_space_is_dropped_if_asked(pieces: list[bytes], text: str) -> None:
    detokenizer = Detokenizer(strip_leading_space=True)
    assert "".join(detokenizer.feed(piece) for piece in pieces) == text
