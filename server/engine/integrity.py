"""The check that the engine's books agree: after each step in tests, else in idle moments."""

from __future__ import annotations

from collections import Counter

from server.engine.batch import Checkpoint
from server.engine.request_table import RequestTable
from server.engine.scheduling.idle_work import is_idle_work
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import Sequence, SequenceStatus, rank


def check(scheduler: Scheduler, requests: RequestTable) -> None:
    """Raise AssertionError if a slot, a sequence or a request is where it can't be."""
    running, waiting, groups = scheduler.running, scheduler.waiting, requests.groups
    _check_slots(scheduler)
    for sequence in running:
        _check_running(scheduler, sequence)
    for sequence in waiting:
        assert sequence.status is SequenceStatus.WAITING, sequence.status
        assert sequence.slot is None, f"sequence {sequence.id} waits in a slot"
        assert not sequence.draft, f"sequence {sequence.id} waits with a draft"
    assert waiting == sorted(waiting, key=rank), "the queue is out of order"
    live = {sequence.id for sequence in (*running, *waiting)}
    assert len(live) == len(running) + len(waiting), "a sequence is in two places"
    assert live == set(requests.sequences), "a sequence is lost or was kept after its end"
    n_by_adapters = Counter(sequence.adapters for sequence in (*running, *waiting))
    assert scheduler.n_by_adapters == n_by_adapters, "the sequences of an adapter set are miscounted"
    for is_idle in (False, True):
        shares = scheduler.precedence.shares_among(is_idle_work=is_idle)
        n_running = Counter(one.owner for one in running if is_idle_work(one) is is_idle)
        n_live = n_running + Counter(one.owner for one in waiting if is_idle_work(one) is is_idle)
        assert {owner: shares.n_live(owner) for owner in shares.owners} == n_live, "an owner is miscounted"
        assert all(shares.n_running(owner) == n_running[owner] for owner in n_live), "slots are miscounted"
    for group in groups.values():
        assert not group.is_finished, f"request {group.id} ended without a terminal event"
    assert {sequence.group.id for sequence in (*running, *waiting)} == set(groups), "a request is lost"
    n_with_deadline = sum(group.deadline_s is not None for group in groups.values())
    assert requests.n_with_deadline == n_with_deadline, "time limits are miscounted"
    assert not scheduler.admitted, "an admission was not reported"


def _check_slots(scheduler: Scheduler) -> None:
    for slot in scheduler.cache.slots:
        owner = slot.owner
        if owner is not None:
            assert owner in scheduler.running, f"slot {slot.id} belongs to a sequence that isn't running"
            assert owner.slot == slot.id, f"slot {slot.id} and its owner disagree"
            assert owner.adapters == slot.adapters, f"slot {slot.id} and its owner have other adapters"
            assert not slot.resident, f"slot {slot.id} has an owner and leftovers"
    _check_checkpoints(scheduler)


def _check_checkpoints(scheduler: Scheduler) -> None:
    checkpoints = scheduler.cache.checkpoints
    if checkpoints is None:
        return
    states: set[Checkpoint] = set()
    for slot in scheduler.cache.slots:
        held = checkpoints.of(slot.id)
        places = [one.n_tokens for one in held]
        assert places == sorted(set(places)), f"the checkpoints of slot {slot.id} are out of order"
        assert not places or places[-1] <= slot.n_held, f"slot {slot.id} has a checkpoint of lost tokens"
        states.update(held)
    assert len(checkpoints) == len(states), "a checkpoint is nobody's, or isn't counted"
    assert checkpoints.n_bytes == sum(one.n_bytes for one in states), "checkpoints' bytes are miscounted"
    assert checkpoints.n_bytes <= checkpoints.max_bytes, "checkpoints take more memory than they may"


def _check_running(scheduler: Scheduler, sequence: Sequence) -> None:
    id_, n_tokens, group = sequence.id, len(sequence.tokens), sequence.group
    assert sequence.status is SequenceStatus.RUNNING, sequence.status
    assert sequence.slot is not None, f"sequence {id_} runs without a slot"
    assert scheduler.cache.slots[sequence.slot].owner is sequence, f"sequence {id_} isn't its slot's owner"
    assert 0 <= sequence.n_computed < n_tokens, f"sequence {id_} runs and has nothing to compute"
    assert n_tokens < sequence.n_tokens_max or not sequence.n_generated, f"sequence {id_} should have ended"
    if sequence.draft:
        assert sequence.n_pending == 1, f"sequence {id_} has a draft and more to compute before it"
        assert sequence.n_generated > 0, f"sequence {id_} has a draft before its first token"
        assert n_tokens + len(sequence.draft) < sequence.n_tokens_max, f"sequence {id_} has too long a draft"
    if sequence.scores_prompt:
        assert sequence.n_computed <= len(group.scores), f"tokens of sequence {id_} have no score"
        assert sequence.n_generated == 0, f"sequence {id_} generates before its prompt is scored"
    first = group.sequences[0]
    assert first is sequence or not first.scores_prompt, f"sequence {id_} runs before its prompt is scored"
