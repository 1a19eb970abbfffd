from __future__ import annotations

from typing import Any

import pytest

from models.errors import RequestError
from server.chat.begun_answer import BegunAnswer, Continuation, split_begun_answer

USER = {"role": "user", "content": "Hi"}


def answer(content: str = "", **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields}


def begun(
    *messages: dict[str, Any], continuation: Continuation = None, generation: bool = True
) -> BegunAnswer | None:
    given = list(messages)
    before, found = split_begun_answer(given, add_generation_prompt=generation, continuation=continuation)
    assert before == (given if found is None and given[-1]["content"] else before)
    assert before in (given, given[:-1])
    return found


def test_which_answers_are_continued() -> None:
    assert begun(USER) is None
    assert begun(USER, answer("The")) == BegunAnswer("The")
    assert begun(answer("The")) == BegunAnswer("The")
    assert begun(USER, answer("The"), continuation=True, generation=False) == BegunAnswer("The")
    assert begun(USER, answer("The"), continuation=False) is None
    assert begun(USER, answer("The"), generation=False) is None
    assert begun(USER, answer("")) is None


def test_thoughts() -> None:
    both = answer("The", reasoning_content="Hm")
    assert begun(USER, both) == BegunAnswer("The", "Hm")
    alone = answer(reasoning_content="Hm")
    assert begun(USER, alone) == BegunAnswer("", "Hm", thinks=True)
    assert begun(USER, alone, continuation="content") == BegunAnswer("", "Hm")
    assert begun(USER, alone, continuation="reasoning_content") == BegunAnswer("", "Hm", thinks=True)
    assert begun(USER, answer(), continuation="reasoning_content") == BegunAnswer("", "", thinks=True)


@pytest.mark.parametrize(
    ("messages", "continuation", "param"),
    [
        ([USER, answer("a"), answer("b")], None, "messages[2]"),
        ([USER, answer("a"), answer("b")], True, "messages[2]"),
        ([USER, answer("a", tool_calls=[{}])], None, "messages[1]"),
        ([USER], True, "continue_final_message"),
        ([USER, {"role": "tool", "content": "x"}], "content", "continue_final_message"),
        ([USER, answer("a")], "reasoning_content", "continue_final_message"),
    ],
)
def test_what_cannot_be_continued(
    messages: list[dict[str, Any]], continuation: Continuation, param: str
) -> None:
    with pytest.raises(RequestError) as caught:
        split_begun_answer(messages, add_generation_prompt=True, continuation=continuation)
    assert caught.value.param == param


def test_two_complete_answers_may_stand_at_the_end() -> None:
    assert begun(USER, answer("a"), answer("b"), continuation=False) is None
