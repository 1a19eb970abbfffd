"""The log of a slot's hidden states: what stands at which position, whatever happens to the slot."""

from __future__ import annotations

import numpy as np
import pytest

from server.placement.place import HEAD_KEPT_TOKENS
from server.worker.run.hidden_state_log import _SlotLog

WIDTH = 3


def rows(tokens: list[int]) -> list[np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """States that tell their token, in two parts."""
    column = np.array(tokens, np.float32)[:, None]
    return [column, np.repeat(column, 2, axis=1)]


def log_of(tokens: list[int], position: int = 0) -> _SlotLog:
    log = _SlotLog(WIDTH)
    log.add(position, tokens, rows(tokens))
    return log


def states(log: _SlotLog, tokens: list[int], first: int = 0) -> tuple[int, list[int]]:
    begin, found = log.states(tokens, first)
    assert (found == found[:, :1]).all()
    return begin, [int(token) for token in found[:, 0]]


def test_the_last_token_has_no_states_yet() -> None:
    assert states(log_of([5, 6, 7]), [5, 6, 7, 8]) == (0, [5, 6, 7])
    assert states(log_of([5, 6, 7]), [5, 6, 7, 8], 2) == (2, [7])


def test_rejected_guesses_are_overwritten() -> None:
    log = log_of([5, 6, 7, 90, 91])
    assert states(log, [5, 6, 7, 8]) == (0, [5, 6, 7])
    log.add(3, [8], rows([8]))
    assert states(log, [5, 6, 7, 8, 9]) == (0, [5, 6, 7, 8])


def test_states_that_are_missing_at_the_end_are_all_missing() -> None:
    assert states(log_of([5, 6]), [5, 6, 7, 8])[1] == []


def test_a_cleared_log_begins_where_the_next_token_stands() -> None:
    log = log_of([5, 6, 7])
    log.clear()
    assert states(log, [5, 6, 7, 8])[1] == []
    log.add(3, [8], rows([8]))
    assert states(log, [5, 6, 7, 8, 9]) == (3, [8])


@pytest.mark.parametrize("position", [5, 1])
def test_states_begin_where_a_slot_was_computed(position: int) -> None:
    """What was shared or restored before wasn't computed here."""
    log = log_of([1, 2, 3])
    log.add(position, [60, 70], rows([60, 70]))
    tokens = [*[1, 2, 3, 4, 5][:position], 60, 70, 80]
    begin = position if position > 3 else 0
    assert states(log, tokens) == (begin, tokens[begin:-1])


def test_another_sequence_in_the_slot_has_only_what_is_alike_to_its_end() -> None:
    log = log_of([1, 2, 3])
    log.add(3, [4], rows([4]))
    assert states(log, [9, 2, 3, 4, 5]) == (1, [2, 3, 4])
    assert states(log, [1, 2, 3, 8, 5])[1] == []


def test_a_long_prompt_leaves_its_last_tokens() -> None:
    tokens = list(range(1_000))
    assert states(log_of(tokens), [*tokens, 5]) == (1_000 - HEAD_KEPT_TOKENS, tokens[-HEAD_KEPT_TOKENS:])


def test_a_long_answer_keeps_its_last_tokens() -> None:
    log = log_of([0])
    for token in range(1, 1_500):
        log.add(token, [token], rows([token]))
    begin, found = states(log, list(range(1_501)))
    assert begin <= 1_500 - HEAD_KEPT_TOKENS
    assert found == list(range(begin, 1_500))


def test_a_copy_is_the_first_tokens_and_goes_its_own_way() -> None:
    source, log = log_of([1, 2, 3, 4]), _SlotLog(WIDTH)
    log.copy(source, 2)
    log.add(2, [30], rows([30]))
    assert states(log, [1, 2, 30, 5]) == (0, [1, 2, 30])
    assert states(source, [1, 2, 3, 4, 5]) == (0, [1, 2, 3, 4])
    log.copy(log_of([8, 9], position=7), 3)
    assert states(log, [1, 2, 30, 5])[1] == []
