from __future__ import annotations

import json
import random
import socket

import pytest

from bench.loads import (
    LONG,
    NAMES,
    SHORT,
    Load,
    Sender,
    Sizes,
    loads_named,
    mixed,
    overall,
    prefix,
    short_gaps,
)
from server.loadtest.client import Lane
from server.loadtest.outcome import Outcome
from server.loadtest.target import Target

TARGET = Target("host", 80, False, "/v1", socket.AF_INET, ("127.0.0.1", 80))
SIZES = Sizes(long_prompts=3)


def sender() -> Sender:
    return Sender(TARGET, "m", {"ignore_eos": True}, random.Random(1), 2.5)


def bodies(lanes: list[Lane]) -> list[dict[str, object]]:
    return [json.loads(one.payload.partition(b"\r\n\r\n")[2]) for lane in lanes for one in lane.requests]


def prompts(load: Load, by: Sender) -> list[str]:
    """As text; token ids as words."""
    sent = [body["prompt"] for body in bodies(load.lanes(by))]
    return [" ".join(map(str, one)) if isinstance(one, list) else str(one) for one in sent]


@pytest.mark.parametrize("load", loads_named(NAMES, [1, 8], SIZES), ids=lambda load: load.name)
def test_no_prompt_comes_twice_and_each_fits_its_room(load: Load) -> None:
    by = sender()
    sent = [prompt for _ in range(3) for prompt in prompts(load, by)]
    assert len(set(sent)) == len(sent)
    n_out = max(int(str(body["max_tokens"])) for body in bodies(load.lanes(by)))
    per_word = 1 if load.name in {"prompt", "repetitive"} else 1.75  # those two are of tokens
    assert max(len(prompt.split()) for prompt in sent) * per_word + n_out <= load.room.n_ctx
    assert all(body["ignore_eos"] and body["model"] == "m" for body in bodies(load.lanes(by)))


def test_streams_stand_for_one_load_each() -> None:
    loads = loads_named(["streams", "prefix"], [1, 4], SIZES)
    assert [load.name for load in loads] == ["streams-1", "streams-4", "prefix"]
    assert [len(load.lanes(sender())) for load in loads] == [1, 4, 8]
    assert [load.ratios[0].aim for load in loads] == [1.2, 2.1, 2.0]


def test_the_prefix_is_shared_within_a_round_and_new_in_the_next() -> None:
    by, load = sender(), prefix(SIZES)
    rounds = [{tuple(prompt.split()[: SIZES.prefix_words]) for prompt in prompts(load, by)} for _ in range(2)]
    assert [len(one) for one in rounds] == [1, 1]
    assert rounds[0] != rounds[1]


def test_long_prompts_come_one_after_another_once_the_short_ones_run() -> None:
    *short, long = mixed(SIZES).lanes(sender())
    assert [(lane.start_s, len(list(lane.requests))) for lane in short] == [(0.0, 1)] * 4
    assert long.start_s == 2.5
    assert [one.label for one in long.requests] == [LONG] * 3


@pytest.mark.parametrize("name", ["steady", "steady-prefix"])
def test_steady_requests_follow_each_other_and_do_not_end_together(name: str) -> None:
    (load,) = loads_named([name], [], SIZES)
    lanes = load.lanes(sender())
    first = [next(lane.requests) for lane in lanes]
    rest = [one for lane in lanes for one in lane.requests]
    lengths = [one.max_tokens or 0 for one in [*first, *rest]]
    assert (len(first), len(lengths)) == (8, SIZES.steady_requests)
    assert len(set(lengths[:8])) > 4
    wanted = SIZES.tokens if name == "steady" else SIZES.prefix_tokens
    assert sum(lengths) / len(lengths) == pytest.approx(wanted, rel=0.01)
    again = [body["max_tokens"] for body in bodies(load.lanes(sender()))]
    assert again == lengths  # every server has the same


def test_all_steady_requests_share_the_prefix_of_their_round() -> None:
    by, (load,) = sender(), loads_named(["steady-prefix"], [], SIZES)
    rounds = [{tuple(prompt.split()[: SIZES.prefix_words]) for prompt in prompts(load, by)} for _ in range(2)]
    assert [len(one) for one in rounds] == [1, 1]
    assert rounds[0] != rounds[1]


def test_one_steady_request_is_a_load_too() -> None:
    (load,) = loads_named(["steady"], [], Sizes(steady_requests=1))
    assert [body["max_tokens"] for body in bodies(load.lanes(sender()))] == [48]


def test_the_long_prompt_has_exactly_its_tokens() -> None:
    (load,) = loads_named(["prompt"], [], SIZES)
    (body,) = bodies(load.lanes(sender()))
    assert isinstance(body["prompt"], list)
    assert len(body["prompt"]) == SIZES.prompt_tokens == 2000
    assert all(0 < token < 4096 for token in body["prompt"])
    assert (load.ratios[0].figure, load.ratios[0].aim) == ("first_token_s_p50", 0.5)


def test_the_answer_to_the_edit_is_the_prompt_with_one_token_in_so_many_changed() -> None:
    (load,) = loads_named(["repetitive"], [], SIZES)
    prompt = [int(token) for token in prompts(load, sender())[0].split()]
    text, begun = prompt[: SIZES.edit_prompt], prompt[SIZES.edit_prompt :]
    answer = range(text[0], text[0] + SIZES.edit_prompt)
    assert begun == list(answer)[: len(begun)]
    changed = [i for i, (a, b) in enumerate(zip(text, answer, strict=True)) if a != b]
    assert changed == list(range(SIZES.edit_every, SIZES.edit_prompt, SIZES.edit_every))


def outcome(label: str, start: float, times: list[float], timings: dict[str, int] | None = None) -> Outcome:
    return Outcome(label, start, times[-1], times, 10, 30, 0, 10, "length", timings)


def test_gaps_of_the_short_streams_while_long_prompts_are_under_way() -> None:
    found = short_gaps(
        [
            outcome(SHORT, 0.0, [1.0, 2.0, 6.0, 6.5, 20.0]),  # 1 before, 4 and .5 within, 13.5 overlapping
            outcome(SHORT, 0.0, [1.0, 4.0, 30.0]),  # 3 and 26 overlapping
            outcome(LONG, 3.0, [4.0, 5.0]),
            outcome(LONG, 6.0, [9.0, 10.0]),
        ]
    )
    assert found["gap_s_p50"] == 4.0
    assert found["gap_s_longest"] == 26.0
    assert found["first_token_s_p50"] == 2.0
    assert found["total_tokens_per_s"] == pytest.approx(4 * 40 / 30)


def test_drafts_are_summed_where_the_server_tells() -> None:
    timings = {"draft_n": 8, "draft_n_accepted": 6}
    found = overall([outcome("", 0.0, [1.0, 2.0], timings), outcome("", 0.0, [1.0, 2.0], timings)])
    assert (found["draft_n"], found["draft_n_accepted"]) == (16, 12)
    assert "draft_n" not in overall([outcome("", 0.0, [1.0, 2.0])])
