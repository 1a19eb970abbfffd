from __future__ import annotations

import pytest

from models.errors import DecodeError
from server.engine.engine import EngineConfig
from server.engine.events import ChoiceEnd, Delta, Failure, Finish, Started
from server.engine.request import EngineRequest
from tests.server.engine.harness import Harness, expected_text, expected_tokens, request
from tests.server.engine.scripted_runner import EOG, PIECES, ScriptedRunner


def test_the_events_of_one_request_in_their_order() -> None:
    harness = Harness()
    asked = request([0, 1, 2], max_tokens=3, ignore_eos=True)
    harness.submit(asked)
    events = []
    while harness.engine.has_work:
        events += harness.step()
    assert isinstance(events[0], Started)
    assert events[0].prompt_tokens == 3
    assert all(isinstance(event, Delta) for event in events[1:-2])
    assert isinstance(events[-2], ChoiceEnd)
    assert events[-2].finish_reason == "length"
    finish = events[-1]
    assert isinstance(finish, Finish)
    assert (finish.usage.prompt_tokens, finish.usage.completion_tokens) == (3, 3)
    assert (finish.timings.prompt_n, finish.timings.predicted_n) == (3, 3)
    assert finish.timings.queue_ms > 0
    assert finish.timings.prompt_ms > 0


def find_request(wanted: str) -> EngineRequest:
    """A request that the scripted model ends by itself ("stop") or doesn't within 20 tokens ("length")."""
    for first in range(EOG):
        for second in range(EOG):
            asked = request([first, second])
            ends = expected_tokens(asked, 256)[-1] == EOG
            if ends == (wanted == "stop") and len(expected_text(asked, 256)) > 3:
                return asked
    raise AssertionError("the scripted model never does that")


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_finish_reason_and_count_with_the_end_token(reason: str) -> None:
    asked = find_request(reason)
    harness = Harness()
    harness.run([asked])
    outcome = next(iter(harness.outcomes.values()))
    said = expected_tokens(asked, 256)
    assert outcome.ends[0].finish_reason == reason
    assert outcome.finish.usage.completion_tokens == len(said)
    assert outcome.text[0] == expected_text(asked, 256)


def test_without_max_tokens_the_answer_ends_at_the_contexts_end() -> None:
    harness = Harness(ScriptedRunner(n_ctx=64))
    asked = request([0, 1, 2], max_tokens=None, ignore_eos=True)
    harness.run([asked])
    outcome = harness.outcomes[asked.id]
    assert outcome.finish.usage.completion_tokens == 61
    assert outcome.ends[0].finish_reason == "length"


def test_max_tokens_0_computes_nothing() -> None:
    harness = Harness()
    asked = request([0, 1, 2], max_tokens=0, echo_text="abc")
    harness.run([asked])
    outcome = harness.outcomes[asked.id]
    assert outcome.text == {0: "abc"}
    assert outcome.finish.usage.completion_tokens == 0
    assert harness.runner.batches == []


def test_min_tokens_bans_the_end_and_stop_strings_until_then() -> None:
    harness = Harness()
    requests = [request([first, 1], min_tokens=12, max_tokens=15, stop=("a", "b")) for first in range(EOG)]
    harness.run(requests)
    counts = [harness.outcomes[asked.id].finish.usage.completion_tokens for asked in requests]
    assert min(counts) >= 12
    assert min(counts) < 15


def test_a_stop_string_over_several_tokens_ends_it_and_is_not_shown() -> None:
    asked = request([0, 1, 2], ignore_eos=True, max_tokens=60)
    whole = expected_text(asked, 256)
    stop = whole[10:13]
    cut = request([0, 1, 2], ignore_eos=True, max_tokens=60, stop=(stop,))
    harness = Harness()
    harness.run([cut])
    outcome = harness.outcomes[cut.id]
    assert outcome.text[0] == whole[: whole.index(stop)]
    assert outcome.ends[0] == ChoiceEnd(id=cut.id, index=0, finish_reason="stop", stop=stop)
    assert outcome.finish.usage.completion_tokens < 60


def test_the_prompt_formats_stops_count_too() -> None:
    asked = request([0, 1, 2], ignore_eos=True, max_tokens=60)
    stop = expected_text(asked, 256)[5:7]
    harness = Harness()
    cut = request([0, 1, 2], ignore_eos=True, max_tokens=60, extra_stops=(stop,))
    harness.run([cut])
    assert harness.outcomes[cut.id].ends[0].stop == stop


def test_n_choices_compute_the_prompt_once() -> None:
    harness = Harness()
    prompt = [token % EOG for token in range(100)]
    asked = request(prompt, n=4, temperature=1.0, seed=5, max_tokens=4, ignore_eos=True)
    harness.run([asked])
    outcome = harness.outcomes[asked.id]
    assert [outcome.text[i] for i in range(4)] == [expected_text(asked, 256, i) for i in range(4)]
    assert harness.runner.n_computed == 100 + 3 * 1 + 4 * 3
    assert outcome.finish.timings.prompt_n == 103
    assert outcome.finish.usage.prompt_tokens == 100


def test_seeds_repeat_and_an_unset_one_is_drawn() -> None:
    harness = Harness()
    fixed = [request([0, 1], temperature=1.0, seed=2**70 + 1, max_tokens=30) for _ in range(2)]
    drawn = [request([0, 1], temperature=1.0, seed=None, max_tokens=30, ignore_eos=True) for _ in range(2)]
    harness.run([*fixed, *drawn])
    texts = [harness.outcomes[asked.id].text for asked in (*fixed, *drawn)]
    assert texts[0] == texts[1]
    assert texts[2] != texts[3]


def test_a_second_turn_reports_its_cached_tokens() -> None:
    harness = Harness()
    first = request([token % EOG for token in range(100)], max_tokens=10, ignore_eos=True, return_tokens=True)
    harness.run([first])
    said = harness.outcomes[first.id].tokens[0]
    second = request([*first.prompt_tokens, *said, 3, 4], max_tokens=2)
    harness.run([second])
    outcome = harness.outcomes[second.id]
    assert outcome.finish.usage.cached_tokens == 109
    assert outcome.started is not None
    assert outcome.started.cached_tokens == 109
    assert outcome.finish.timings.prompt_n == 112 - 109
    assert outcome.text.get(0, "") == expected_text(second, 256)


def test_the_same_prompts_at_once_are_computed_once() -> None:
    harness = Harness(ScriptedRunner(n_slots=8, n_batch=512))
    shared = [token % EOG for token in range(200)]
    crowd = [request([*shared, token], max_tokens=2, ignore_eos=True) for token in range(8)]
    harness.run(crowd)
    assert harness.runner.n_computed < 200 + 8 * 40
    for asked in crowd:
        assert harness.outcomes[asked.id].text.get(0, "") == expected_text(asked, 256)


@pytest.mark.parametrize("n_steps", [0, 1, 2, 5])
def test_cancelling_in_any_state_ends_it_and_frees_its_place(n_steps: int) -> None:
    harness = Harness(ScriptedRunner(n_slots=1), EngineConfig(prefill_tokens_alone=6))
    running = request(range(EOG), max_tokens=50, ignore_eos=True)
    waiting = request([5, 6], max_tokens=2)
    harness.submit(running)
    harness.submit(waiting)
    for _ in range(n_steps):
        harness.step()
    harness.engine.cancel(running.id)
    harness.engine.cancel(running.id)
    harness.engine.cancel("unknown")
    harness.run()
    assert harness.outcomes[running.id].failure.kind == "cancelled"
    assert harness.outcomes[waiting.id].text.get(0, "") == expected_text(waiting, 256)


def test_cancelling_one_that_waits() -> None:
    harness = Harness(ScriptedRunner(n_slots=1))
    running, waiting = (request([first], max_tokens=20, ignore_eos=True) for first in (1, 2))
    harness.submit(running)
    harness.submit(waiting)
    harness.step()
    harness.engine.cancel(waiting.id)
    harness.run()
    assert harness.outcomes[waiting.id].failure.kind == "cancelled"
    assert harness.outcomes[waiting.id].started is None
    assert harness.outcomes[running.id].text[0] == expected_text(running, 256)


def test_a_time_limit_ends_running_and_waiting_requests() -> None:
    harness = Harness(ScriptedRunner(n_slots=1))
    running = request([1], max_tokens=200, ignore_eos=True, timeout_s=0.05)
    waiting = request([2], max_tokens=200, ignore_eos=True, timeout_s=0.05)
    unlimited = request([3], max_tokens=5)
    harness.run([running, waiting, unlimited])
    for asked in (running, waiting):
        failure = harness.outcomes[asked.id].failure
        assert (failure.kind, failure.code) == ("unavailable", "timeout")
        assert "0.05 s" in failure.message
    assert harness.outcomes[running.id].text
    assert isinstance(harness.outcomes[unlimited.id].terminal, Finish)


def test_an_error_in_one_choice_ends_its_request_and_no_other() -> None:
    harness = Harness()
    bad = request([1, 2], n=3, max_tokens=20, ignore_eos=True)
    good = request([3, 4], max_tokens=20, ignore_eos=True)
    harness.submit(bad)
    harness.submit(good)
    harness.step()
    harness.runner.poisoned.add(min(harness.runner.samplers))
    harness.run()
    assert harness.outcomes[bad.id].failure.kind == "server_error"
    assert harness.outcomes[good.id].text[0] == expected_text(good, 256)


def test_a_fatal_decode_fails_everybody_and_says_so() -> None:
    harness = Harness(ScriptedRunner(n_slots=1, fatal_after=3))
    running, waiting = (request([first], max_tokens=20, ignore_eos=True) for first in (1, 2))
    harness.run([running, waiting])
    assert harness.outcomes[running.id].failure.kind == "server_error"
    assert harness.outcomes[waiting.id].failure.kind == "unavailable"
    assert isinstance(harness.engine.fatal_error, DecodeError)


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    harness = Harness(ScriptedRunner(n_slots=2), EngineConfig(queue_size=3))
    crowd = [request([first], max_tokens=20, ignore_eos=True) for first in range(7)]
    for asked in crowd:
        harness.submit(asked)
    harness.run()
    kinds = [type(harness.outcomes[asked.id].terminal) for asked in crowd]
    assert kinds == [Finish] * 5 + [Failure] * 2
    failure = harness.outcomes[crowd[-1].id].failure
    assert (failure.kind, failure.code) == ("busy", "rate_limit_exceeded")
    assert failure.retry_after_s is not None
    assert failure.retry_after_s >= 1


def test_bad_requests_fail_with_their_parameter_and_cost_nothing() -> None:
    harness = Harness()
    too_long = request([1] * 300)
    harness.run([too_long])
    failure = harness.outcomes[too_long.id].failure
    assert (failure.kind, failure.code, failure.param) == (
        "invalid_request",
        "context_length_exceeded",
        "prompt",
    )
    assert harness.runner.batches == []


def test_a_choice_that_cant_be_opened_refuses_the_request_and_leaves_nothing() -> None:
    harness = Harness(ScriptedRunner(open_limit=2))
    asked = request([1], n=3)
    harness.run([asked])
    assert harness.outcomes[asked.id].failure.param == "top_p"


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_what_was_held_back_is_shown_at_the_end(reason: str) -> None:
    asked = find_request(reason)
    text = expected_text(asked, 256)
    stop = text[-1] + "never"
    held = request(asked.prompt_tokens, stop=(stop,))
    harness = Harness()
    harness.run([held])
    assert harness.outcomes[held.id].text[0] == text


def test_an_id_that_is_taken_is_refused() -> None:
    harness = Harness()
    asked = request([1], ignore_eos=True)
    harness.engine.submit(asked)
    harness.engine.submit(asked)
    events = harness.engine.step()
    assert [event.kind for event in events if isinstance(event, Failure)] == ["invalid_request"]


def test_the_leading_space_goes_and_the_echo_comes() -> None:
    space = PIECES.index(b" ")
    prompts = ([first, second] for first in range(EOG) for second in range(EOG))
    prompt = next(prompt for prompt in prompts if expected_tokens(request(prompt), 256)[0] == space)
    asked = request(prompt, strip_leading_space=True, echo_text="> ")
    harness = Harness()
    harness.run([asked])
    plain = expected_text(request(prompt), 256)
    assert plain.startswith(" ")
    assert harness.outcomes[asked.id].text[0] == "> " + plain[1:]


def test_tokens_come_with_the_text_if_asked() -> None:
    asked = request([0, 1, 2], return_tokens=True, max_tokens=15, ignore_eos=True)
    harness = Harness()
    harness.run([asked])
    assert list(harness.outcomes[asked.id].tokens[0]) == expected_tokens(asked, 256)


def test_stats_count_tokens_and_steps() -> None:
    harness = Harness()
    harness.run([request(range(20), max_tokens=5, ignore_eos=True)])
    stats = harness.engine.stats
    assert (stats.steps_total, stats.prompt_tokens_total, stats.generated_tokens_total) == (5, 20, 5)
    assert stats.prompt_s_total > 0
    assert stats.generated_s_total > 0
    assert harness.engine.n_held_tokens == 24
