from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.speculation.ngram import INDEXED_PER_STEP, SIZES, NgramIndex, NgramProposer
from tests.server.engine.harness import group_of, request


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


def test_after_a_replaced_token_the_copy_goes_on_at_once() -> None:
    text = list(range(100, 120))
    index = NgramIndex((3,))
    assert index.continuation([*text, 100, 101, 102], 3) == [103, 104, 105]
    assert index.continuation([*text, 100, 101, 102, 103, 9], 3) == [105, 106, 107]
    assert index.continuation([*text, 100, 101, 102, 103, 9, 8], 3) == [], "two tell nothing"
    assert index.continuation([*text, 100, 101, 102, 103, 9, 8, 106], 3) == [107, 108, 109]


def test_a_copy_that_has_ended_is_not_gone_on_with() -> None:
    text = list(range(100, 120))
    index = NgramIndex((3,))
    assert index.continuation([*text, 100, 101, 102], 3)
    assert index.continuation([*text, 100, 101, 102, 1, 2, 3, 4, 107], 3) == [], "two of six alike"


def test_a_long_match_elsewhere_is_better_than_the_old_distance() -> None:
    text = [*range(100, 110), 50, *range(200, 206), 60, 61]
    index = NgramIndex((6, 3))
    said = [*text, *range(100, 110)]
    assert index.continuation(said, 1) == [50]
    assert index.continuation([*said, 50, *range(200, 206)], 2) == [60, 61]
    assert index.continuation([*text, *range(100, 110), 9, *range(200, 206)], 2) == [60, 61]


def test_a_long_text_is_indexed_in_parts_and_none_is_left_out() -> None:
    text = list(range(10, 10 + 3 * INDEXED_PER_STEP))
    index = NgramIndex((3,))
    early, late = text[5:8], text[-13:-10]
    assert index.continuation([*text, *late], 2) == [], "its place isn't indexed yet"
    assert index.continuation([*text, *late, *early], 2) == text[8:10]
    for n_calls in range(2):
        assert index.continuation([*text, *late, *early, 5, *[n_calls] * 2], 2) == []
    assert index.continuation([*text, *late, *early, 5, 0, 1, *late], 2) == early[:2]
    assert index.continuation([*text, *late, *early, 5, 0, 1, *late[:2], 6, *text[-9:-6]], 2) == text[-6:-4]


def slow_distance(tokens: list[int], size: int, before: int | None) -> int | None:
    """The same by searching."""
    end = tokens[-size:]
    starts = [at for at in range(len(tokens) - size) if tokens[at : at + size] == end]
    if len(end) == size and starts:
        return len(tokens) - size - starts[-1]
    if before is None:
        return None
    alike = [tokens[-i] == tokens[-i - before] for i in range(1, 7) if i + before <= len(tokens)]
    return before if any(alike[:2]) and sum(alike) >= 3 else None


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 8), st.data())
def test_an_index_that_grows_says_what_a_search_says(tokens: list[int], n: int, data: st.DataObject) -> None:
    index = NgramIndex((3,))
    at, before = 0, None
    while at < len(tokens):
        at = data.draw(st.integers(at + 1, len(tokens)))
        said = tokens[:at]
        distance = slow_distance(said, 3, before)
        guess = index.continuation(said, n)
        if distance is None:
            assert guess == []
            continue
        for _ in range(n):
            said.append(said[-distance])
        assert guess == said[at:]
        before = distance


def test_sequences_have_their_own_index_until_they_end() -> None:
    one, other = (group_of(request(tokens), 99).sequences[0] for tokens in ([1] * 9, [2] * 9))
    proposer = NgramProposer()
    assert proposer.propose([(one, 2), (other, 3)]) == [[1, 1], [2, 2, 2]]
    proposer.close(one)
    proposer.close(one)
    one.tokens = [5, 6, 7, 8, 5, 6, 7]
    assert proposer.propose([(one, 2), (other, 1)]) == [[8, 5], [2]], "nothing is left of the first index"
