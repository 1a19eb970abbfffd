"""Several owners: shares of slots and tokens, and one alone is served as if there were no shares."""

from __future__ import annotations

import random

import pytest

from server.engine.engine import EngineConfig
from server.engine.events import Failure, Finish
from server.engine.request import IDLE_PRIORITY
from server.engine.scheduling.fair_share import FairShare
from tests.server.engine.harness import Clock, Harness, request
from tests.server.engine.scripted_runner import EOG, ScriptedRunner

TOKEN_S = 0.001
"""A step takes so many seconds for each of its tokens, and the clock's own for being asked."""


def harness(
    n_slots: int = 8, *, queue_size: int = 256, n_ctx: int = 2048, n_cells: int | None = None
) -> Harness:
    clock = Clock()
    runner = ScriptedRunner(
        n_slots=n_slots, n_ctx=n_ctx, n_batch=512, n_cells=n_cells, spend=clock.spend_per_token(TOKEN_S)
    )
    return Harness(runner, EngineConfig(queue_size=queue_size), clock=clock)


def prompt(chance: random.Random, n: int) -> list[int]:
    return [chance.randrange(EOG) for _ in range(n)]


def flood(
    made: Harness, chance: random.Random, n: int, *, owner: str = "flood", length: int = 60
) -> list[str]:
    return [
        made.submit(request(prompt(chance, length), owner=owner, max_tokens=200, ignore_eos=True))
        for _ in range(n)
    ]


def first_token_s(made: Harness, name: str) -> float:
    """Step until the request has its first token; return the time that it took on the harness's clock."""
    begun_s = made.clock.now_s
    for _ in range(5000):
        made.step()
        if made.outcomes[name].n_emitted:
            return made.clock.now_s - begun_s
    raise AssertionError("no first token")


# --- the books ----------------------------------------------------------------------------------------------


def test_an_owner_begins_where_the_lowest_of_the_others_is() -> None:
    shares = FairShare()
    for owner in ("a", "b"):
        shares.add(owner)
    shares.count("a", 500)
    shares.count("b", 300)
    shares.add("c")
    assert (shares.used("a"), shares.used("b"), shares.used("c")) == (500, 300, 300)


def test_going_and_coming_back_forgives_nothing() -> None:
    shares = FairShare()
    for owner in ("a", "b"):
        shares.add(owner)
    shares.count("a", 500)
    shares.remove("a")
    shares.count("b", 200)  # alone, it uses nothing that another wanted
    assert shares.used("b") == 0
    shares.add("a")
    assert shares.used("a") == 500
    shares.remove("a")
    shares.remove("b")
    shares.add("a")
    assert shares.used("a") == 0


def test_the_books_of_those_who_are_gone_stay_small() -> None:
    shares = FairShare()
    shares.add("stays")
    for number in range(1000):
        shares.add(f"visitor-{number}")
        shares.count(f"visitor-{number}", 1)
        shares.count("stays", 2)
        shares.remove(f"visitor-{number}")
    assert len(shares._used) < 5


# --- one against many ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [40, 300, 1500])
@pytest.mark.parametrize("warm_steps", [0, 30, 200])
def test_a_flood_doesnt_slow_anothers_one(length: int, warm_steps: int) -> None:
    chance = random.Random(length + warm_steps)
    alone = harness()
    flood(alone, chance, 4)  # so that the costs of steps are known
    alone.run()
    own = prompt(chance, length)
    alone_s = first_token_s(alone, alone.submit(request(own, owner="one", ignore_eos=True)))

    made = harness()
    flood(made, chance, 64)
    for _ in range(warm_steps):
        made.step()
    name = made.submit(request(own, owner="one", ignore_eos=True))
    # A step that runs when it comes isn't in this time; the flood's next tokens are in each of its own.
    assert first_token_s(made, name) <= 1.5 * alone_s + 2 * 8 * TOKEN_S


def test_without_owners_it_would_wait_for_the_flood() -> None:
    """The test above can fail: the same requests of one owner."""
    chance = random.Random(1)
    made = harness()
    flood(made, chance, 64, owner="")
    for _ in range(30):
        made.step()
    own = prompt(chance, 300)
    assert first_token_s(made, made.submit(request(own, ignore_eos=True))) > 10 * 300 * TOKEN_S


def test_two_floods_get_the_same() -> None:
    chance = random.Random(2)
    made = harness()
    names = {"a": flood(made, chance, 40, owner="a")}
    for _ in range(10):
        made.step()
    names["b"] = flood(made, chance, 40, owner="b")
    names = {
        owner: [n for n in made.outcomes if made.engine._requests.groups[n].request.owner == owner]
        for owner in "ab"
    }
    for _ in range(100):
        made.step()
    running = [sequence.owner for sequence in made.engine._scheduler.running]
    assert running.count("a") == running.count("b") == 4
    before = {owner: sum(made.outcomes[n].n_emitted for n in names[owner]) for owner in "ab"}
    for _ in range(400):
        made.step()
    made_since = {o: sum(made.outcomes[n].n_emitted for n in names[o]) - before[o] for o in "ab"}
    assert made_since["a"] == pytest.approx(made_since["b"], rel=0.15)


def test_priority_stays_above_fairness() -> None:
    chance = random.Random(3)
    made = harness(n_slots=2)
    urgent = [
        made.submit(request(prompt(chance, 20), owner="a", priority=-1, max_tokens=50, ignore_eos=True))
        for _ in range(6)
    ]
    for _ in range(5):
        made.step()
    other = made.submit(request(prompt(chance, 20), owner="b", max_tokens=5))
    while made.outcomes[other].started is None:
        made.step()
    assert all(made.outcomes[name].started is not None for name in urgent)
    assert sum(made.outcomes[name].terminal is None for name in urgent) <= 1
    assert made.engine.stats.preemptions_total == 0


def test_nobody_starves_whoever_has_most_prompts() -> None:
    """Long prompts of one owner come without an end, and the requests of another were there before."""
    chance = random.Random(4)
    made = harness(n_slots=4)
    earlier = flood(made, chance, 12, length=200)
    for _ in range(3):
        made.step()
    for step in range(20_000):
        if step % 3 == 0 and made.engine.n_waiting < 40:
            made.submit(request(prompt(chance, 400), owner="new", max_tokens=2))
        made.step()
        if all(made.outcomes[name].terminal is not None for name in earlier):
            break
    assert all(isinstance(made.outcomes[name].terminal, Finish) for name in earlier)


def test_a_prefix_that_the_flood_computes_is_waited_for_without_a_deadlock() -> None:
    chance = random.Random(5)
    made = harness(n_slots=4)
    shared = prompt(chance, 800)
    flood(made, chance, 3)
    made.step()
    made.submit(request([*shared, 1], owner="flood", max_tokens=400, ignore_eos=True))
    made.step()
    name = made.submit(request([*shared, 2], owner="one", max_tokens=4))
    made.run()
    assert isinstance(made.outcomes[name].terminal, Finish)


def test_a_full_queue_has_room_for_an_owner_with_few() -> None:
    chance = random.Random(7)
    made = harness(n_slots=2, queue_size=10)
    names = flood(made, chance, 20)
    made.step()
    busy = [name for name in names if isinstance(made.outcomes[name].terminal, Failure)]
    assert len(busy) == 8
    one = made.submit(request(prompt(chance, 20), owner="one", max_tokens=2))
    [refused] = flood(made, chance, 1)
    made.run()
    assert isinstance(made.outcomes[one].terminal, Finish)
    assert made.outcomes[refused].failure.kind == "busy"


def test_a_full_queue_says_when_half_of_it_will_have_been_served() -> None:
    """No answer has ended yet: the prompts alone tell."""
    chance = random.Random(8)
    made = harness(n_slots=1, queue_size=10)
    flood(made, chance, 11, length=1000)
    for _ in range(5):
        made.step()
    [refused] = flood(made, chance, 2)[1:]
    made.step()
    assert made.outcomes[refused].failure.retry_after_s == pytest.approx(10 * 1000 * TOKEN_S / 2, rel=0.1)


# --- work for idle times ------------------------------------------------------------------------------------


def idle_flood(made: Harness, chance: random.Random, n: int, owner: str) -> list[str]:
    return [
        made.submit(
            request(prompt(chance, 60), owner=owner, priority=IDLE_PRIORITY, max_tokens=200, ignore_eos=True)
        )
        for _ in range(n)
    ]


def test_idle_work_of_many_owners_is_nobody_to_one_who_asks_now() -> None:
    """The batches of one owner's requests are those that it has alone, to the token."""

    def batches(idle_owners: str) -> list[list[tuple[int, int]]]:
        chance = random.Random(11)
        made = harness(n_slots=4)
        own = [prompt(chance, length) for length in (300, 40, 5, 80, 700, 20)]
        for owner in idle_owners:
            idle_flood(made, chance, 6, owner)
        for _ in range(20 if idle_owners else 0):
            made.step()
        begun = len(made.runner.batches)
        names = [made.submit(request(one, owner="one", max_tokens=20, ignore_eos=True)) for one in own]
        while any(made.outcomes[name].terminal is None for name in names):
            made.step()
        of_own = made.runner.batches[begun:]
        first = min(entry.sequence_id for batch in of_own for entry in batch.entries)
        return [
            [(entry.sequence_id - first, len(entry.tokens)) for entry in batch.entries] for batch in of_own
        ]

    assert sorted(map(sorted, batches("abc"))) == sorted(map(sorted, batches("")))


def test_two_owners_of_idle_work_get_the_same_and_nobody_is_put_back_for_nothing() -> None:
    """What is computed again after others had the slots counts as well: who lost more has fewer then."""
    chance = random.Random(12)
    made = harness(n_slots=4)
    for owner, n in (("a", 40), ("b", 6)):
        idle_flood(made, chance, n, owner)
    for _ in range(60):
        made.step()
    for _ in range(3):
        chat = made.submit(request(prompt(chance, 30), owner="c", max_tokens=5, ignore_eos=True))
        while made.outcomes[chat].terminal is None:
            made.step()
            assert {one.owner for one in made.engine._scheduler.running} <= {"c"}
        for _ in range(10):
            made.step()
        n_preemptions = made.engine.stats.preemptions_total
        before = {one.id: one.n_generated for one in made.engine._scheduler.running}
        for _ in range(30):
            made.step()
        assert made.engine.stats.preemptions_total == n_preemptions
        running = made.engine._scheduler.running
        assert {one.owner for one in running} == {"a", "b"}
        assert all(one.n_generated > before[one.id] for one in running)
    shares = made.engine._scheduler.precedence.shares
    assert shares.used("a") == pytest.approx(shares.used("b"), rel=0.1)


def test_idle_work_whose_prefix_is_there_doesnt_starve_anothers() -> None:
    chance = random.Random(13)
    made = harness(n_slots=1)
    shared = prompt(chance, 200)
    lines = [
        request(
            [*shared, *prompt(chance, 3)], owner="a", priority=IDLE_PRIORITY, max_tokens=10, ignore_eos=True
        )
        for _ in range(60)
    ]
    for line in lines:
        made.submit(line)
    made.step()
    other = made.submit(
        request(prompt(chance, 50), owner="b", priority=IDLE_PRIORITY, max_tokens=10, ignore_eos=True)
    )
    for _ in range(300):
        made.step()
        if made.outcomes[other].terminal is not None:
            break
    assert isinstance(made.outcomes[other].terminal, Finish)
    assert sum(made.outcomes[line.id].terminal is None for line in lines) > 40


def test_those_who_end_are_no_preemptions() -> None:
    chance = random.Random(14)
    made = harness(n_slots=2)
    for length in (10, 20, 30):
        made.submit(request(prompt(chance, length), max_tokens=4))
    made.run()
    assert made.engine.stats.preemptions_total == 0
    idle_flood(made, chance, 2, "a")
    for _ in range(5):
        made.step()
    made.submit(request(prompt(chance, 10), owner="one", max_tokens=4))
    made.step()
    assert made.engine.stats.preemptions_total == 2


# --- one owner ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_one_owner_alone_is_served_as_without_shares(seed: int) -> None:
    def batches(owner: str) -> list[list[tuple[int, int]]]:
        chance = random.Random(seed)
        made = harness(n_slots=chance.choice([1, 3, 8]))
        for _ in range(60):
            if chance.random() < 0.4:
                made.submit(
                    request(
                        prompt(chance, chance.randint(1, 300)),
                        owner=owner,
                        n=chance.choice([1, 1, 3]),
                        priority=chance.choice([0, 0, 1]),
                        max_tokens=30,
                    )
                )
            made.step()
        made.run()
        first = min(entry.sequence_id for batch in made.runner.batches for entry in batch.entries)
        return [
            [(entry.sequence_id - first, len(entry.tokens)) for entry in batch.entries]
            for batch in made.runner.batches
        ]

    assert batches("") == batches("bob")
