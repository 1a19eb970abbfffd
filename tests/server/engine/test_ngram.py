from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.ngram import SIZES, NgramIndex, NgramProposer
from server.engine.sequence import Group, Sequence
from tests.server.engine.harness import request


def guess_of(tokens: list[int], n: int, sizes: tuple[int, ...] = (3,)) -> list[int]:
    return NgramIndex(sizes).continuation(tokens, n)


def test_what_followed_the_last_occurrence_is_guessed() -> None:
    assert guess_of([1, 2, 3, 4, 5, 9, 1, 2, 3], 2) == [4, 5]
    assert guess_of([1, 2, 3, 4, 9, 1, 2, 3, 7, 8, 1, 2, 3], 2) == [7, 8]


@pytest.mark.parametrize("tokens", [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4, 5, 6]])
def test_text_that_repeats_nothing_is_not_guessed(tokens: list[int]) -> None:
    assert guess_of(tokens, 4) == []


def test_a_cycle_goes_on_as_a_cycle_beyond_what_has_been_said() -> None:
    assert guess_of([7, 7, 7, 7], 5) == [7] * 5
    assert guess_of([1, 2, 1, 2, 1], 5) == [2, 1, 2, 1, 2]
    assert guess_of([9, 1, 2, 3, 4, 1, 2, 3], 7) == [4, 1, 2, 3, 4, 1, 2]


def test_the_longer_match_is_asked_first() -> None:
    tokens = [1, 2, 3, 4, 5, 6, 50, 0, 4, 5, 6, 60, 1, 2, 3, 4, 5, 6]
    assert guess_of(tokens, 1, (6, 3)) == [50]
    assert guess_of(tokens, 1, (3,)) == [60]
    assert list(SIZES) == sorted(SIZES, reverse=True)


def test_without_a_long_match_a_short_one_will_do() -> None:
    assert guess_of([4, 5, 6, 60, 61, 4, 5, 6], 2, (6, 3)) == [60, 61]


def slow_guess(tokens: list[int], n: int, size: int) -> list[int]:
    """The same by searching, one guess after the other."""
    end = tokens[-size:]
    starts = [at for at in range(len(tokens) - size) if tokens[at : at + size] == end]
    if len(end) < size or not starts:
        return []
    period = len(tokens) - size - starts[-1]
    said = list(tokens)
    for _ in range(n):
        said.append(said[-period])
    return said[len(tokens) :]


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 8), st.data())
def test_an_index_that_grows_says_what_a_search_says(tokens: list[int], n: int, data: st.DataObject) -> None:
    index = NgramIndex((3,))
    at = 0
    while at < len(tokens):
        at = data.draw(st.integers(at + 1, len(tokens)))
        assert index.continuation(tokens[:at], n) == slow_guess(tokens[:at], n, 3)


def test_sequences_have_their_own_index_until_they_end() -> None:
    one, other = (Sequence(Group(request(tokens), 99, 0.0), 0, 99) for tokens in ([1] * 9, [2] * 9))
    proposer = NgramProposer()
    assert proposer.propose([(one, 2), (other, 3)]) == [[1, 1], [2, 2, 2]]
    proposer.close(one)
    proposer.close(one)
    assert set(proposer._indexes) == {other.id}
