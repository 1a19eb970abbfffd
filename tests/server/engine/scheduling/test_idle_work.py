"""Work for idle times: it has the model while nobody else wants it, and stands in nobody's way."""

from __future__ import annotations

from server.engine.engine import EngineConfig
from server.engine.events import Failure, Finish
from server.engine.request import IDLE_PRIORITY
from tests.server.engine.harness import Harness, request
from tests.server.engine.scheduling.test_scheduler_order import add, compute, ids, scheduler_of, step
from tests.server.engine.scripted_runner import ScriptedRunner


def test_idle_work_gives_up_its_slots_to_whoever_comes_and_comes_back_with_what_it_had() -> None:
    scheduler = scheduler_of(n_slots=2)
    idle = [add(scheduler, 40, first=100 * i, priority=IDLE_PRIORITY) for i in range(2)]
    for _ in range(10):
        step(scheduler)
    assert scheduler.running == idle
    chat = add(scheduler, 5, first=500)
    batch = scheduler.schedule()
    assert ids(batch) == [chat.id]
    assert scheduler.running == [chat]
    assert scheduler.waiting == idle
    compute(scheduler, batch)
    for _ in range(3):
        assert ids(step(scheduler)) == [chat.id]
    scheduler.remove(chat)
    entries = [entry for _ in range(4) for entry in step(scheduler).entries]
    lengths = [[len(entry.tokens) for entry in entries if entry.sequence_id == one.id] for one in idle]
    assert {1} in map(set, lengths), "what it had computed was still in its slot"
    assert sum(map(sum, lengths)) > 40, "the other's slot was needed meanwhile"


def test_beside_others_waiting_idle_work_makes_no_prompt_larger() -> None:
    alone, beside = scheduler_of(), scheduler_of()
    for number in range(6):
        add(beside, 40, first=1000 + 100 * number, priority=IDLE_PRIORITY)
    for scheduler in (alone, beside):
        add(scheduler, 5)
        step(scheduler)
        step(scheduler)
        add(scheduler, 300, first=300)
    sizes = [
        [[len(entry.tokens) for entry in step(each).entries] for _ in range(3)] for each in (alone, beside)
    ]
    assert sizes[0] == sizes[1]


def test_a_low_priority_is_no_idle_work() -> None:
    scheduler = scheduler_of()
    low = add(scheduler, priority=IDLE_PRIORITY - 1)
    step(scheduler)
    high = add(scheduler, first=100)
    assert sorted(ids(step(scheduler))) == [low.id, high.id]


def test_idle_work_never_makes_the_queue_full_for_others() -> None:
    config = EngineConfig(queue_size=2)
    harness = Harness(ScriptedRunner(n_slots=2), config)
    idle = [harness.submit(request([i], priority=IDLE_PRIORITY, max_tokens=3)) for i in range(5)]
    chats = [harness.submit(request([10 + i], max_tokens=3)) for i in range(5)]
    events = harness.step()
    assert [event.id for event in events if isinstance(event, Failure)] == [idle[4], chats[4]]
    ended: list[str] = []
    while harness.engine.has_work:
        ended += [event.id for event in harness.step() if isinstance(event, Finish)]
    assert sorted(ended[:4]) == sorted(chats[:4])
    assert sorted(ended[4:]) == sorted(idle[:4])
