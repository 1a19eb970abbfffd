from __future__ import annotations

from server.engine.engine import EngineConfig
from tests.server.engine.harness import Harness, request
from tests.server.engine.scripted_runner import ScriptedRunner


def test_a_slot_tells_how_far_its_sequence_is() -> None:
    harness = Harness(ScriptedRunner(n_slots=2), EngineConfig(prefill_tokens_alone=4))
    asked = request(range(6), max_tokens=5, ignore_eos=True)
    harness.submit(asked)
    harness.step()
    first, second = harness.engine.slot_states()
    assert (first.n_held, second.n_held, second.task) == (4, 0, None)
    assert first.task is not None
    assert (first.task.request_id, first.task.n_processed, first.task.n_generated) == (asked.id, 4, 0)
    harness.step()
    harness.step()
    first, _ = harness.engine.slot_states()
    assert first.task is not None
    assert (first.task.n_processed, first.task.n_cached) == (6, 0)
    assert (first.task.n_generated, first.task.n_left) == (2, 3)
    while harness.engine.has_work:
        harness.step()
    first, _ = harness.engine.slot_states()
    assert first.task is None
    assert first.n_held >= 6


def test_what_the_client_says_stays_in_the_engine() -> None:
    harness = Harness(ScriptedRunner(n_slots=1))
    harness.submit(request([0, 1], max_tokens=None, ignore_eos=True, stop=("secret",)))
    harness.step()
    (state,) = harness.engine.slot_states()
    assert state.task is not None
    assert state.task.params.stop == ()
    assert state.task.n_left is None


def test_the_cache_is_no_work() -> None:
    harness = Harness(ScriptedRunner(n_slots=1))
    harness.run([request(range(6), max_tokens=1)])
    harness.submit(request([*range(6), 3, 4], max_tokens=4, ignore_eos=True))
    harness.step()
    (state,) = harness.engine.slot_states()
    assert state.task is not None
    assert (state.task.n_cached, state.task.n_processed) == (6, 2)
