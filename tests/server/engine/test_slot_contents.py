"""Slots that requests name, and what is put into them or taken out between two steps."""

from __future__ import annotations

from server.engine.batch import Save
from tests.server.engine.harness import Harness, expected_text, request
from tests.server.engine.scripted_runner import EOG, ScriptedRunner

PROMPT = [token % EOG for token in range(30)]


def harness_of(n_slots: int = 3) -> Harness:
    return Harness(ScriptedRunner(n_slots=n_slots))


def cached(harness: Harness, prompt: list[int], slot: int | None) -> int:
    """The number of a prompt's tokens that a request in this slot finds there."""
    asked = request(prompt, max_tokens=3, slot=slot, ignore_eos=True)
    harness.run([asked])
    outcome = harness.outcomes[asked.id]
    assert outcome.text.get(0, "") == expected_text(asked, 256)
    return outcome.finish.usage.cached_tokens


def test_a_named_slot_is_used_with_what_it_holds() -> None:
    harness = harness_of()
    assert cached(harness, PROMPT, 2) == 0
    assert harness.engine.slot_contents.held(0) == Save(0, [], ())
    assert cached(harness, [*PROMPT[:20], 9], 1) == 0, "another slot's tokens aren't this one's"
    assert cached(harness, [*PROMPT[:20], 8], 2) == 20
    assert cached(harness, [*PROMPT[:20], 8], None) == 20


def test_only_those_who_name_a_busy_slot_wait_for_it() -> None:
    harness = harness_of()
    first = request(PROMPT, max_tokens=40, slot=1, ignore_eos=True)
    same = request(PROMPT, max_tokens=2, slot=1, ignore_eos=True, n=2)
    other = request(PROMPT[5:], max_tokens=2, ignore_eos=True)
    names = [harness.submit(each) for each in (first, same, other)]
    while harness.outcomes[names[2]].terminal is None:
        harness.step()
    assert harness.outcomes[names[0]].terminal is None
    assert 0 not in harness.outcomes[names[1]].ends, "its first choice waits"
    harness.run()
    assert all(harness.outcomes[name].finish for name in names)


def test_a_slot_that_is_not_there_is_refused() -> None:
    harness = harness_of(2)
    asked = request(PROMPT, slot=2)
    harness.run([asked])
    failure = harness.outcomes[asked.id].failure
    assert (failure.kind, failure.param) == ("invalid_request", "id_slot")
    assert "0 to 1" in failure.message


def test_an_erased_slot_has_nothing_for_the_next() -> None:
    harness = harness_of()
    cached(harness, PROMPT, 1)
    harness.engine.slot_contents.erase(1)
    assert harness.engine.slot_contents.held(1) == Save(1, [], ())
    assert cached(harness, PROMPT, 1) == 0
    harness.engine.slot_contents.erase(0)  # it holds nothing: fine
    assert cached(harness, PROMPT, 0) == 0


def test_a_filled_slot_has_all_for_the_next_and_keeps_what_it_had_nowhere() -> None:
    harness = harness_of()
    cached(harness, PROMPT, 1)
    contents = harness.engine.slot_contents
    held = contents.held(1)
    assert held is not None
    harness.runner.save(held)
    cached(harness, [7, 7, 7, 7], 0)
    contents.fill(0, list(held.tokens), harness.runner.key_of(held))
    assert cached(harness, [*PROMPT, 1], 0) == 30
    assert cached(harness, [7, 7, 7, 7], 0) == 0


def test_a_slot_in_use_has_nothing_to_keep() -> None:
    harness = harness_of(1)
    harness.submit(request(PROMPT, max_tokens=30, ignore_eos=True))
    harness.step()
    assert harness.engine.slot_contents.held(0) is None
    harness.run()
    assert harness.engine.slot_contents.held(0) is not None


def test_a_state_that_does_not_fit_costs_only_the_time_to_compute_it() -> None:
    harness = harness_of()
    cached(harness, PROMPT, 1)
    held = harness.engine.slot_contents.held(1)
    assert held is not None
    harness.runner.save(held)
    harness.runner.damaged = set(harness.runner.saved)
    harness.engine.slot_contents.fill(0, list(held.tokens), harness.runner.key_of(held))
    assert cached(harness, PROMPT, 0) == 0
