"""What a grammar may take."""

from __future__ import annotations

import pytest

from server.worker.sampling.time_account import FOLLOWING, MASKING, TimeAccount, TimeLimit


@pytest.mark.parametrize("limit", [FOLLOWING, MASKING])
def test_a_usual_grammar_never_reaches_the_limit_and_a_dear_one_does(limit: TimeLimit) -> None:
    usual, dear, late = TimeAccount(limit), TimeAccount(limit), TimeAccount(limit)
    usual.take(0.01)  # the first token of many optional properties
    late.take(limit.free_s, 0)
    for _ in range(10_000):
        usual.take(0.0003)
        late.take(limit.per_token_s)
    assert not usual.is_overdrawn
    n = 0
    while not dear.is_overdrawn:
        dear.take(2.5 * limit.per_token_s)
        n += 1
    assert n < 60
    late.take(limit.per_token_s + 1e-3)
    assert late.is_overdrawn


def test_it_says_what_was_taken() -> None:
    account = TimeAccount(TimeLimit(free_s=0.01, per_token_s=0.002))
    account.take(0.03, 4)
    account.take(0.01, 0)
    assert account.is_overdrawn
    assert str(account) == "10.0 ms of computing a token; the limit is 2 ms"
