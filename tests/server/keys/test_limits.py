from __future__ import annotations

import pytest

from models.errors import RateLimited
from server.keys.caller import Call, Caller, KeyLimits
from server.keys.limits import Allowance, Bucket, RateLimits


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def caller(owner: str = "bob", **limits: int) -> Caller:
    return Caller(owner=owner, name=owner, limits=KeyLimits(**limits))


def allowance(clock: Clock, **limits: int) -> Allowance:
    found = RateLimits(clock).of(Caller(owner="bob", name="bob", limits=KeyLimits(**limits)))
    assert found is not None
    return found


def test_a_bucket_fills_steadily_up_to_its_limit(clock: Clock) -> None:
    bucket = Bucket(60, clock)
    bucket.take(60)
    assert (bucket.left, bucket.wait_s(1), bucket.reset_s) == (0, 1.0, 60.0)
    clock.now_s += 1.5
    assert (bucket.left, bucket.wait_s(3)) == (1, 1.5)
    clock.now_s += 1000
    assert (bucket.left, bucket.reset_s) == (60, 0.0)


def test_what_was_taken_beyond_comes_back_first(clock: Clock) -> None:
    bucket = Bucket(60, clock)
    bucket.take(90)
    assert (bucket.left, bucket.wait_s(1)) == (0, 31.0)


def test_another_limit_forgives_nothing(clock: Clock) -> None:
    bucket = Bucket(100, clock)
    bucket.take(90)
    bucket.change(50)
    assert bucket.left == 0
    bucket.change(200)
    assert bucket.left == 110


def test_without_limits_there_is_nothing_to_count(clock: Clock) -> None:
    assert RateLimits(clock).of(caller()) is None


def test_each_key_has_its_own_and_keeps_it(clock: Clock) -> None:
    limits = RateLimits(clock)
    bob = limits.of(caller(requests_per_minute=1))
    assert bob is not None
    bob.take_request()
    eve = limits.of(caller("eve", requests_per_minute=1))
    assert eve is not None
    eve.take_request()
    assert limits.of(caller(requests_per_minute=1)) is bob
    raised = limits.of(caller(requests_per_minute=3))
    assert raised is bob
    raised.take_request()
    limits.of(caller())
    bob.take_request()
    bob.take_request()


def test_requests(clock: Clock) -> None:
    bob = allowance(clock, requests_per_minute=2)
    bob.take_request()
    bob.take_request()
    for _ in range(3):  # a refused one takes nothing
        with pytest.raises(RateLimited) as error:
            bob.take_request()
        assert error.value.retry_after_s == 30.0
    clock.now_s += 30
    bob.take_request()


def test_answers_at_the_same_time(clock: Clock) -> None:
    bob = allowance(clock, streams=2)
    first, second, third = (Call(caller()) for _ in range(3))
    with bob.answering(first), bob.answering(first), bob.answering(second):
        with pytest.raises(RateLimited, match="2 answers"), bob.answering(third):
            pass
        clock.now_s += 10
    with bob.answering(second), bob.answering(third):
        with pytest.raises(RateLimited) as error, bob.answering(first):
            pass
        assert error.value.retry_after_s == 5.0  # two that take ten seconds each
    assert first.n_answers == 0


def test_a_place_is_free_again_however_an_answer_ends(clock: Clock) -> None:
    bob = allowance(clock, streams=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), bob.answering(Call(caller())):
            raise ValueError("x")


def test_a_prompt_that_has_more_than_is_left_is_refused_at_once(clock: Clock) -> None:
    bob = allowance(clock, tokens_per_minute=600)
    bob.take_prompt(500)
    with pytest.raises(RateLimited, match="100 left of 600") as error:
        bob.take_prompt(150)
    assert error.value.retry_after_s == 5.0
    bob.take_prompt(100)


def test_a_prompt_that_never_fits_has_no_time_to_come_back(clock: Clock) -> None:
    with pytest.raises(RateLimited, match="shorten") as error:
        allowance(clock, tokens_per_minute=600).take_prompt(601)
    assert error.value.retry_after_s is None


def test_tokens_of_an_answer_count_as_they_come(clock: Clock) -> None:
    bob = allowance(clock, tokens_per_minute=60)
    with bob.answering(Call(caller())):
        for _ in range(70):
            bob.take_tokens(1)
    with pytest.raises(RateLimited) as error, bob.answering(Call(caller())):
        pass
    assert error.value.retry_after_s == 11.0
    bob.take_request()  # which takes no token
    clock.now_s += 11
    with bob.answering(Call(caller())):
        pass


def test_background_work_leaves_half_to_those_who_wait(clock: Clock) -> None:
    bob = allowance(clock, requests_per_minute=20, tokens_per_minute=600)
    for _ in range(10):
        bob.take_request(is_background=True)
    with pytest.raises(RateLimited) as error:
        bob.take_request(is_background=True)
    assert error.value.retry_after_s == 3.0
    bob.take_request()
    bob.take_prompt(300, is_background=True)
    with pytest.raises(RateLimited) as error:
        bob.take_prompt(30, is_background=True)
    assert error.value.retry_after_s == 3.0
    bob.take_prompt(300)


def test_background_work_of_more_than_half_waits_for_all_of_it(clock: Clock) -> None:
    bob = allowance(clock, requests_per_minute=1, tokens_per_minute=600)
    bob.take_request(is_background=True)
    bob.take_tokens(60)
    with pytest.raises(RateLimited) as error:
        bob.take_prompt(500, is_background=True)
    assert error.value.retry_after_s == 6.0
    clock.now_s += 6
    bob.take_prompt(500, is_background=True)


def test_background_work_takes_nobodys_place(clock: Clock) -> None:
    bob = allowance(clock, streams=1)
    with bob.answering(Call(caller(), is_background=True)), bob.answering(Call(caller())):
        with bob.answering(Call(caller(), is_background=True)):
            pass
        with pytest.raises(RateLimited, match="1 answers"), bob.answering(Call(caller())):
            pass
