from __future__ import annotations

import pytest

from models.errors import CorralError, RequestError
from server.engine.events import ChoiceEnd, Delta, Failure, Finish, Started
from server.engine.prefix.prefix_cache import PrefixCache
from server.engine.request_table import SEED_LIMIT, RequestTable
from server.engine.scheduling.prompt_budget import SchedulerConfig
from server.engine.scheduling.scheduler import Scheduler
from tests.server.engine.harness import Clock, request
from tests.server.engine.scripted_runner import ScriptedRunner


def table_of(runner: ScriptedRunner) -> RequestTable:
    config = SchedulerConfig(n_batch=runner.n_batch, n_vocab=runner.n_vocab)
    cache = PrefixCache(runner.n_slots, can_trim=True, copy_tokens_min=32)
    return RequestTable(runner, Scheduler(cache, config), None, Clock())


def test_events_are_taken_once_in_their_order() -> None:
    table = table_of(ScriptedRunner())
    events = [Failure(id=id_, kind="busy", message="full") for id_ in ("a", "b")]
    for event in events:
        table.report(event)
    assert table.has_work
    assert table.take_events() == events
    assert table.take_events() == []
    assert not table.has_work


def test_sequences_are_numbered_by_their_table_in_the_order_they_come() -> None:
    for _ in range(2):
        table = table_of(ScriptedRunner())
        table.add(request([1], n=2))
        table.add(request([2]))
        assert list(table.sequences) == [0, 1, 2]


def test_a_request_ends_with_its_last_choice() -> None:
    runner = ScriptedRunner()
    table = table_of(runner)
    asked = request([1], n=2, echo_text="> ")
    table.add(asked)
    first, second = table.sequences.values()
    table.admit(first.group, 0, 1.0)
    table.finish(first, "stop", "a")
    assert [type(event) for event in table.take_events()] == [Started, Delta, Delta, Delta, ChoiceEnd]
    assert list(table.groups) == [asked.id]
    table.finish(second, "length", "")
    assert [type(event) for event in table.take_events()] == [ChoiceEnd, Finish]
    assert not table.has_work
    assert not table.sequences
    assert not runner.samplers


def test_a_failed_request_takes_all_its_choices_along() -> None:
    runner = ScriptedRunner()
    table = table_of(runner)
    table.add(request([1], n=3, timeout_s=5.0))
    assert table.n_with_deadline == 1
    [group] = table.groups.values()
    table.fail(group, CorralError("no finite logits"))
    [event] = table.take_events()
    assert isinstance(event, Failure)
    assert not table.sequences
    assert not runner.samplers
    assert table.n_with_deadline == 0


def test_a_request_whose_sampler_cant_be_made_leaves_nothing() -> None:
    runner = ScriptedRunner(open_limit=1)
    table = table_of(runner)
    with pytest.raises(RequestError):
        table.add(request([1], n=2))
    assert not table.has_work
    assert not table.sequences
    assert not runner.samplers


def test_choices_have_seeds_of_their_own_below_the_limit() -> None:
    runner = ScriptedRunner()
    table_of(runner).add(request([1], n=3, seed=SEED_LIMIT - 1))
    assert [seed for _, seed in runner.samplers.values()] == [SEED_LIMIT - 1, 0, 1]
