"""Where thoughts, content and calls are, however the text is cut into tokens."""

from __future__ import annotations

from typing import Any

import pytest

from server.engine.answer_plan import AnswerPlan, AnswerProgress

MARKS = ("<t>", "</t>")


def progress(**options: Any) -> AnswerProgress:
    return AnswerProgress(AnswerPlan(**options))


def after(made: AnswerProgress, *texts: str) -> AnswerProgress:
    for text in texts:
        made.add(text)
    return made


@pytest.mark.parametrize(
    ("texts", "n_thoughts"),
    [
        (("<t>", "a", "b", "</t>", "c"), 4),
        (("<", "t>", "a", "</", "t", ">", "c", "d"), 6),
        (("\n", "<t>", "a", "</t>"), 3),
        (("<t>a</t>b", "c"), 1),
        (("<t>", "a", "b"), 3),
        (("<", "b", "<t>", "a"), 0),
        (("a", "<t>", "b", "</t>"), 0),
        ((" ", "\n"), 0),
    ],
)
def test_thoughts_are_counted_with_their_marks(texts: tuple[str, ...], n_thoughts: int) -> None:
    assert after(progress(thoughts=MARKS), *texts).n_thoughts == n_thoughts


def test_thoughts_that_the_prompt_opened() -> None:
    made = progress(thoughts=MARKS, thinks=True)
    counts = [made.stops_count]
    assert after(made, "a", "b", "</t>").n_thoughts == 3
    counts.append(made.stops_count)
    assert counts == [False, True]
    assert after(made, "c").n_thoughts == 3


def test_the_budget() -> None:
    made = progress(thoughts=MARKS, budget_tokens=3, closing_tokens=(7, 8))
    assert made.n_left == 3
    assert after(made, "<", "t>").n_left == 1
    closes = [made.must_close, after(made, "a").must_close]
    assert made.close() == [7, 8]
    closes.append(made.must_close)
    assert closes == [False, True, False], "they are forced once"
    assert after(made, "</t>").n_left is None
    assert made.n_thoughts == 4


def test_a_budget_of_nothing_closes_what_is_open() -> None:
    assert progress(thoughts=MARKS, thinks=True, budget_tokens=0, closing_tokens=(7,)).must_close
    unopened = progress(thoughts=MARKS, budget_tokens=0, closing_tokens=(7,))
    closes = [unopened.must_close, after(unopened, "<t>").must_close]
    assert closes == [False, True]


def test_thoughts_that_come_again_have_what_is_left_of_the_budget() -> None:
    options: dict[str, Any] = {
        "thoughts": MARKS,
        "between": "<m>",
        "budget_tokens": 4,
        "closing_tokens": (7,),
    }
    made = progress(**options, is_whole=True)
    assert after(made, "<t>", "a", "</t>").n_thoughts == 3
    assert after(made, "<m>", "<t>").must_close, "the mark between and the opening one are thoughts'"
    assert made.close() == [7]
    assert not made.must_close
    assert after(made, "</t>", "<m><t>").must_close, "and once more"
    ended = after(progress(**options), "<t>", "a", "</t>", "<m>", "c")
    assert (ended.n_thoughts, ended.n_left, ended.stops_count) == (3, None, True)
    assert after(progress(**options), "<t>b</t><m><t>c", "d").n_thoughts == 2


def test_content_without_thoughts_has_no_limit() -> None:
    made = progress(thoughts=MARKS, budget_tokens=3, closing_tokens=(7,))
    assert after(made, "Hi").n_left is None
    assert progress(budget_tokens=3, closing_tokens=(7,)).n_left is None


@pytest.mark.parametrize(
    ("options", "texts", "counts"),
    [
        ({}, ("a",), True),
        ({"is_whole": True}, ("a",), False),
        ({"is_whole": True, "thoughts": MARKS}, ("<t>a</t>", "b"), False),
        ({"call_marks": ("[c]",)}, ("a", "b"), True),
        ({"call_marks": ("[c]",)}, ("a", "[", "c]"), False),
        ({"call_marks": ("[c]",)}, ("a[c]b", "c"), False),
        ({"call_marks": ("[c]",)}, ("a[c]",), False),  # a stop string that is the mark ends nothing
        ({"call_marks": ("[c]",)}, ("a[",), True),  # one that begins it does
        ({"call_marks": ("[c]",)}, ("{", '"'), True),
        ({"call_marks": ("[c]",), "bare_calls": True}, (" ", "\n{", '"'), False),
        ({"call_marks": ("[c]",), "bare_calls": True}, ("a", "{"), True),
        ({"call_marks": ("[c]",), "thoughts": MARKS}, ("<t>[c]</t>", "b"), True),
        ({"bare_calls": True, "thoughts": MARKS}, ("<t>a</t>", "\n\n", "{"), False),
        ({"thoughts": MARKS}, ("<t>", "a"), False),
        ({"thoughts": MARKS}, ("<t>", "a", "</t>", "b"), True),
    ],
)
def test_stop_strings_count_in_free_content(
    options: dict[str, Any], texts: tuple[str, ...], counts: bool
) -> None:
    assert after(progress(**options), *texts).stops_count is counts
