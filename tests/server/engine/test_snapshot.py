from __future__ import annotations

import pytest

from server.engine.engine import EngineConfig
from server.engine.snapshot import SlotSnapshot
from tests.server.engine.harness import Harness, request
from tests.server.engine.scripted_runner import ScriptedRunner


def test_a_snapshot_has_who_runs_who_waits_and_what_slots_hold() -> None:
    harness = Harness(ScriptedRunner(n_slots=1), EngineConfig(prefill_tokens_alone=4))
    running, waiting = request(range(6)), request([9])
    harness.submit(running)
    harness.submit(waiting)
    harness.step()
    snapshot = harness.engine.snapshot()
    [first], [second] = snapshot.running, snapshot.waiting
    assert (first.request_id, second.request_id) == (running.id, waiting.id)
    assert snapshot.slots == (SlotSnapshot(first.id, (0, 1, 2, 3)),)
    assert snapshot.request_id_of(second.id) == waiting.id
    harness.step()
    assert snapshot.slots[0].tokens == (0, 1, 2, 3), "it is a copy"


def test_an_idle_slot_keeps_its_tokens_and_has_no_owner() -> None:
    harness = Harness(ScriptedRunner(n_slots=1))
    harness.run([request([0, 1], max_tokens=1)])
    snapshot = harness.engine.snapshot()
    assert snapshot.slots == (SlotSnapshot(None, (0, 1)),)
    with pytest.raises(StopIteration):
        snapshot.request_id_of(0)
