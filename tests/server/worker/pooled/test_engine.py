"""Requests share steps fairly, and each ends once: with a runner that counts, without weights."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from models.errors import DecodeError
from models.pooling import Pooling
from server.engine.events import Event, Failure, Finish, Started, Vectors
from server.engine.patience import TIMES, UNKNOWN_S
from server.engine.request import IDLE_PRIORITY
from server.worker.pooled.engine import PooledEngine
from server.worker.pooled.request import PooledRequest
from server.worker.pooled.runner import PooledRunner, PooledText


class CountingRunner:
    """Makes of each text the vector (its sum, its length); a step has `n_step_tokens`."""

    def __init__(self, n_step_tokens: int = 32, n_sequences: int = 4) -> None:
        self.pooling = Pooling(name="mean", is_causal=True)
        self.n_step_tokens, self.n_sequences = n_step_tokens, n_sequences
        self.texts: list[PooledText] = []
        self.steps: list[list[tuple[str, int]]] = []
        self.idle: list[bool] = []
        self.n_left = 0
        self.error: DecodeError | None = None

    def begin(self, texts: Sequence[PooledText]) -> None:
        assert 0 < len(texts) <= self.n_sequences
        n_tokens = sum(len(text.tokens) for text in texts)
        assert n_tokens <= self.n_step_tokens or len(texts) == 1
        self.texts, self.n_left = list(texts), n_tokens
        self.steps.append([(text.request_id, text.index) for text in texts])

    def drop(self) -> None:
        self.texts, self.n_left = [], 0

    def advance(self, room: int | None = None, *, idle: bool = False) -> list[PooledText]:
        self.idle.append(idle)
        if self.error is not None:
            raise self.error
        self.n_left -= min(self.n_left, self.n_step_tokens)
        if self.n_left:
            return []
        for text in self.texts:
            text.result = np.array([[sum(text.tokens), len(text.tokens)]], np.float32)
        return self.texts


def engine_of(
    runner: CountingRunner, queue_size: int = 100, clock_s: list[float] | None = None
) -> PooledEngine:
    times = clock_s or [0.0]
    return PooledEngine(cast("PooledRunner", runner), queue_size, lambda: times[0])


def request(request_id: str, *lengths: int, **fields: object) -> PooledRequest:
    texts = [[i + 1] * n for i, n in enumerate(lengths)]
    return PooledRequest(id=request_id, texts=texts, norm=-1, **fields)  # type: ignore[arg-type]


def run(engine: PooledEngine) -> list[Event]:
    events = []
    while engine.has_work:
        events += engine.step()
        engine.check_integrity()
    return events


def rows_of(events: Sequence[Event], request_id: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for event in events:
        if isinstance(event, Vectors) and event.id == request_id:
            rows = np.frombuffer(event.data, "<f4").reshape(-1, event.width)
            for index, row in zip(event.indices, rows, strict=True):
                assert index not in found
                found[index] = row.tolist()
    return found


def test_every_text_is_computed_once_and_the_request_ends() -> None:
    engine = engine_of(CountingRunner())
    engine.submit(request("a", 5, 30, 40, 1, 7))
    events = run(engine)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finish)
    assert events[-1].usage.prompt_tokens == 83
    assert rows_of(events, "a") == {0: [5, 5], 1: [60, 30], 2: [120, 40], 3: [4, 1], 4: [35, 7]}


def test_a_request_of_one_text_waits_for_one_step_beside_thousands() -> None:
    runner = CountingRunner()
    engine = engine_of(runner)
    engine.submit(request("many", *[8] * 2000))
    engine.step()
    engine.submit(request("one", 8))
    events = engine.step()
    assert any(isinstance(event, Finish) and event.id == "one" for event in events)
    assert len(runner.steps) == 2


def test_owners_get_equal_shares_whatever_the_number_of_their_requests() -> None:
    runner = CountingRunner()
    engine = engine_of(runner)
    for number in range(20):
        engine.submit(request(f"many-{number}", *[8] * 10, owner="many"))
    engine.step()
    engine.submit(request("few", *[16] * 6, owner="few"))
    begun = len(runner.steps)
    for _ in range(6):
        engine.step()
        engine.check_integrity()
    counts = Counter(name.partition("-")[0] for step in runner.steps[begun:] for name, _ in step)
    assert counts == {"many": 12, "few": 6}  # texts of 8 and of 16 tokens: as many tokens
    assert len({name for step in runner.steps for name, _ in step}) > 7, "its own take turns"


def test_one_owner_alone_is_served_as_without_shares() -> None:
    def steps(owner: str) -> list[list[tuple[str, int]]]:
        chance = random.Random(5)
        runner = CountingRunner()
        engine = engine_of(runner)
        for number in range(60):
            if chance.random() < 0.5:
                lengths = [chance.randint(1, 40) for _ in range(chance.randint(1, 12))]
                engine.submit(request(str(number), *lengths, owner=owner, priority=chance.choice([0, 0, 1])))
            engine.step()
        run(engine)
        return runner.steps

    assert steps("") == steps("bob")


def test_an_owner_with_few_has_a_place_in_a_full_queue_and_idle_work_takes_none() -> None:
    engine = engine_of(CountingRunner(n_sequences=1), queue_size=4)
    idle = [request(f"idle-{i}", 8, owner="a", priority=IDLE_PRIORITY) for i in range(5)]
    many = [request(f"many-{i}", 8, owner="many") for i in range(6)]
    for each in (*idle, *many, request("few", 8, owner="few")):
        engine.submit(each)
    events = run(engine)
    assert [event.id for event in events if isinstance(event, Failure)] == ["many-5"]
    ended = [event.id for event in events if isinstance(event, Finish)]
    assert all(name.startswith("idle") for name in ended[-5:])
    assert "few" in ended[:2]


def test_requests_take_turns() -> None:
    runner = CountingRunner()
    engine = engine_of(runner)
    for name in "abc":
        engine.submit(request(name, *[8] * 40))
    for _ in range(9):
        engine.step()
    taken = [name for step in runner.steps for name, _ in step]
    assert {taken.count(name) for name in "abc"} == {12}


def test_lower_priorities_wait() -> None:
    runner = CountingRunner()
    engine = engine_of(runner)
    engine.submit(request("late", 8, 8, priority=1))
    engine.submit(request("early", 8, 8, priority=0))
    run(engine)
    assert [step[0][0] for step in runner.steps] == ["early", "late"]


def test_short_texts_fill_what_a_long_one_leaves() -> None:
    runner = CountingRunner()
    engine = engine_of(runner)
    engine.submit(request("a", 30, 2, 31, 1))
    run(engine)
    assert [sorted(index for _, index in step) for step in runner.steps] == [[2, 3], [0, 1]]


def test_pairs_are_answered_when_all_vectors_are_there() -> None:
    engine = engine_of(CountingRunner())
    engine.submit(request("a", 20, 30, 20, pairs=((0, 2), (0, 0))))
    events = run(engine)
    (vectors,) = [event for event in events if isinstance(event, Vectors)]
    assert vectors.meaning == "cosine"
    a, c = np.array([20, 20.0]), np.array([60, 20.0])
    expected = [a @ c / np.linalg.norm(a) / np.linalg.norm(c), 1.0]
    assert np.frombuffer(vectors.data, "<f4").tolist() == pytest.approx(expected)


def test_a_cancelled_request_is_computed_no_further() -> None:
    runner = CountingRunner()
    engine = engine_of(runner)
    engine.submit(request("long", 5000))
    engine.submit(request("other", 3))
    engine.step()
    engine.cancel("long")
    engine.cancel("unknown")
    events = run(engine)
    kinds = {event.id: event.kind for event in events if isinstance(event, Failure)}
    assert kinds == {"long": "cancelled"}
    assert rows_of(events, "other") == {0: [3, 3]}
    assert engine.stats.steps_total == 2


def test_a_full_queue_and_a_deadline_end_requests() -> None:
    now_s = [0.0]
    engine = engine_of(CountingRunner(), queue_size=0, clock_s=now_s)
    engine.submit(request("a", 40, 40, timeout_s=5.0))
    engine.submit(request("b", 4))
    engine.submit(request("a", 4))
    failures = {event.id: event for event in engine.step() if isinstance(event, Failure)}
    assert failures["b"].kind == "busy"
    assert failures["a"].kind == "invalid_request"
    now_s[0] = 6.0
    (late,) = [event for event in run(engine) if isinstance(event, Failure)]
    assert (late.id, late.code) == ("a", "timeout")


def test_a_failed_decode_ends_everything() -> None:
    runner = CountingRunner()
    engine = engine_of(runner)
    engine.submit(request("a", 4))
    runner.error = DecodeError("it broke", status=-3)
    events = run(engine)
    assert [event.kind for event in events if isinstance(event, Failure)] == ["server_error"]
    assert engine.fatal_error is runner.error


def test_random_schedules_give_every_request_one_end() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        engine = engine_of(CountingRunner(rng.randint(8, 64), rng.randint(1, 8)))
        events: list[Event] = []
        wanted: dict[str, PooledRequest] = {}
        cancelled: set[str] = set()
        for i in range(40):
            if rng.random() < 0.5:
                one = request(f"r{i}", *(rng.randint(1, 90) for _ in range(rng.randint(1, 12))))
                wanted[one.id] = one
                engine.submit(one)
            if wanted and rng.random() < 0.1:
                cancelled.add(victim := rng.choice(list(wanted)))
                engine.cancel(victim)
            events += engine.step()
            engine.check_integrity()
        events += run(engine)
        ends = [event.id for event in events if isinstance(event, Finish | Failure)]
        assert sorted(ends) == sorted(wanted)
        for event in events:
            if isinstance(event, Finish):
                one = wanted[event.id]
                expected = {i: [sum(text), len(text)] for i, text in enumerate(one.texts)}
                assert rows_of(events, event.id) == expected
            assert not isinstance(event, Failure) or event.id in cancelled


def test_steps_of_a_slow_model_are_short() -> None:
    runner = CountingRunner(n_step_tokens=512, n_sequences=100)
    now_s = [0.0]
    engine = engine_of(runner, clock_s=now_s)
    engine.submit(request("a", *[8] * 400))
    begin = runner.begin

    def slow(texts: Sequence[PooledText]) -> None:
        begin(texts)

    def advance(room: int | None = None, *, idle: bool = False) -> list[PooledText]:
        assert not idle
        assert room is not None
        assert 95 <= room <= 512
        now_s[0] += 0.001 * runner.n_left
        return CountingRunner.advance(runner)

    runner.begin, runner.advance = slow, advance  # type: ignore[method-assign]
    run(engine)
    assert [len(step) * 8 for step in runner.steps[:3]] == [512, 96, 96]


class Watch:
    """Notes the steps of which it hears."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float, float]] = []
        self.in_step = False

    def begin(self, n_tokens: int, expected_s: float, limit_s: float) -> None:
        self.steps.append((n_tokens, expected_s, limit_s))
        self.in_step = True

    def busy(self) -> None:
        self.in_step = False


def test_each_step_is_told_with_the_time_that_it_has() -> None:
    times, watch = [0.0], Watch()

    class SlowRunner(CountingRunner):
        def advance(self, room: int | None = None, *, idle: bool = False) -> list[PooledText]:
            assert watch.in_step
            times[0] += 1.0 * min(self.n_left, self.n_step_tokens)
            return super().advance(room, idle=idle)

    runner = SlowRunner()
    engine = PooledEngine(cast("PooledRunner", runner), 100, lambda: times[0], watch)
    for name, length in (("first", 8), ("next", 16), ("long", 2048)):
        engine.submit(request(name, length))
        run(engine)
        assert not watch.in_step
    assert watch.steps[0] == (8, 0.0, UNKNOWN_S), "nothing was measured yet"
    n_tokens, expected_s, limit_s = watch.steps[1]
    assert (n_tokens, limit_s) == (16, TIMES * expected_s)
    assert 16.0 <= expected_s < 17.0
    n_tokens, expected_s, _ = watch.steps[2]
    assert n_tokens == 32
    assert expected_s == pytest.approx(64.0), "a long text's attention takes time"
    engine.gives_way = True
    engine.submit(request("idle", 8))
    run(engine)
    assert watch.steps[-1] == (8, 0.0, UNKNOWN_S), "others may leave it no core"


def test_who_gives_way_has_a_short_turn_in_two_seconds() -> None:
    runner = CountingRunner(n_step_tokens=512, n_sequences=100)
    now_s = [100.0]
    engine = engine_of(runner, clock_s=now_s)
    engine.gives_way = True
    engine.submit(request("a", *[8] * 400))
    for _ in range(9):
        engine.step()
        now_s[0] += 0.5
    assert runner.idle == [False, True, True, True, False, True, True, True, False]
    assert {len(step) * 8 for step in runner.steps} == {16}


def test_who_gives_way_begins_with_short_texts() -> None:
    runner = CountingRunner(n_step_tokens=64, n_sequences=100)
    engine = engine_of(runner)
    engine.gives_way = True
    engine.submit(request("a", 40, 20, 12, 60, 30))
    assert len(rows_of(run(engine), "a")) == 5
    assert [index for [(_, index)] in runner.steps] == [2, 1, 4, 0, 3]
