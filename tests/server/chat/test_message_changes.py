from __future__ import annotations

import random

import pytest

from server.chat.message_changes import Changes, Messages, merge_system, possible_changes

ROLES = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool"}


def chat(roles: str) -> Messages:
    """Messages of these roles, by their initials, with contents that tell their places."""
    return [{"role": ROLES[initial], "content": f"{initial}{i}"} for i, initial in enumerate(roles)]


def shown(messages: Messages) -> str:
    return " ".join(f"{message['role'][0]}:{message['content']}".replace("\n", "|") for message in messages)


@pytest.mark.parametrize(
    ("roles", "places", "expected"),
    [
        ("su", {0}, "u:s0|u1"),
        ("ssu", {0, 1}, "u:s0|s1|u2"),
        ("ssu", {1}, "s:s0 u:s1|u2"),
        ("suasu", {3}, "s:s0 u:u1 a:a2 u:s3|u4"),
        ("uas", {2}, "u:u0 a:a1 u:s2"),
        ("sau", {0}, "u:s0 a:a1 u:u2"),
        ("s", {0}, "u:s0"),
        ("us", {1}, "u:u0 u:s1"),
        ("uss", {1, 2}, "u:u0 u:s1|s2"),
        ("ssau", {0, 1}, "u:s0|s1 a:a2 u:u3"),
    ],
)
def test_system_texts_go_where_they_stand(roles: str, places: set[int], expected: str) -> None:
    given = chat(roles)
    assert shown(merge_system(given, frozenset(places))) == expected
    assert given == chat(roles)


def test_empty_system_texts_leave_nothing() -> None:
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": "u"}]
    assert shown(merge_system(messages, frozenset({0}))) == "u:u"
    assert merge_system(messages[:1], frozenset({0})) == []


@pytest.mark.parametrize(
    ("roles", "expected"),
    [("au", "u: a:a0 u:u1"), ("sau", "s:s0 u: a:a1 u:u2"), ("ua", "u:u0 a:a1"), ("", "u:"), ("s", "s:s0 u:")],
)
def test_an_opening_user(roles: str, expected: str) -> None:
    assert shown(Changes(opening_user=True).apply(chat(roles))) == expected


def test_turns_in_a_row_are_joined_and_others_stay() -> None:
    joined = Changes(joined_turns=True)
    assert shown(joined.apply(chat("uuaauttuu"))) == "u:u0||u1 a:a2||a3 u:u4 t:t5 t:t6 u:u7||u8"
    assert shown(joined.apply(chat("ssu"))) == "s:s0 s:s1 u:u2"
    empty = [{"role": "user", "content": ""}, {"role": "user", "content": "x"}]
    assert shown(joined.apply(empty)) == "u:x"
    calls = {"role": "assistant", "content": "", "tool_calls": [{"id": "c"}]}
    assert joined.apply([calls, calls]) == [calls, calls]


def test_the_fewest_changes_come_first_and_none_twice() -> None:
    for roles in ("u", "su", "uu", "suasu", "au", "ssauusud"):
        given = chat(roles)
        made = list(possible_changes(given))
        assert made[0] == Changes()
        applied = [changes.apply(given) for changes in made]
        assert all(one not in applied[:i] for i, one in enumerate(applied))
    assert list(possible_changes(chat("ua"))) == [Changes()]
    assert [c.system for c in possible_changes(chat("suasu"))][:2] == [frozenset(), frozenset({3})]


def test_all_changes_together_make_every_chat_alternate() -> None:
    rng = random.Random(1)
    for _ in range(300):
        given = chat("".join(rng.choices("sdua", k=rng.randint(1, 9))))
        roles = [message["role"] for message in list(possible_changes(given))[-1].apply(given)]
        assert all(role == ("user", "assistant")[i % 2] for i, role in enumerate(roles)), (given, roles)


def test_many_system_texts_are_merged_at_once() -> None:
    messages = [{"role": "system", "content": "x"}] * 50_000
    [merged] = merge_system(messages, frozenset(range(50_000)))
    assert merged == {"role": "user", "content": "\n".join("x" * 50_000)}


def test_a_long_run_is_joined_at_once() -> None:
    messages = [{"role": "user", "content": "x"}] * 50_000
    [joined] = Changes(joined_turns=True).apply(messages)
    assert len(joined["content"]) == 50_000 + 2 * 49_999
