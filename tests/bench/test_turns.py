"""The transcripts of `bench.turns`: the chats that they ask for, given answers; no server."""

from __future__ import annotations

import random

import pytest

from bench.turns import TRANSCRIPTS, Messages, Questions, n_shared, shown

N_TURNS = 6


def asked(name: str) -> list[Messages | None]:
    """Return what a transcript asks to be answered, in its order; answer i is `i` and thoughts before it."""
    talk = TRANSCRIPTS[name](Questions(random.Random(1), 3), N_TURNS)
    chats: list[Messages | None] = [next(talk)]
    while True:
        try:
            latest = chats[-1]
            answer = f"{'thought ' * 3}{len(chats)}"
            chats.append(next(talk) if latest is None else talk.send(answer))
        except StopIteration:
            return chats


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_each_chat_ends_with_a_question(name: str) -> None:
    chats = [chat for chat in asked(name) if chat is not None]
    assert len(chats) == N_TURNS
    for chat in chats:
        roles = [message["role"] for message in chat if message["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_new_chats_have_their_instructions_alone_in_common() -> None:
    chats = [chat for chat in asked("new_chats") if chat is not None]
    assert len({tuple(chat[0].items()) for chat in chats}) == 1
    assert [len(chat) for chat in chats] == [2, 4] * (N_TURNS // 2)
    assert len({chat[1]["content"] for chat in chats}) == N_TURNS // 2


def test_answers_come_back_without_most_of_them() -> None:
    chats = asked("plain")
    assert [None if chat is None else len(chat) for chat in chats] == [1, 3, 5, 7, 9, 11]
    assert chats[1] == [*(chats[0] or []), shown("thought thought thought 1"), (chats[1] or [])[-1]]
    assert shown("thought thought thought 1")["content"] == "ught 1"


def test_each_goes_on_in_its_own_way() -> None:
    late, edited, again = asked("late"), asked("edit"), asked("regenerate")
    assert late[1] is not None
    assert late[2] is not None
    assert late[1][1]["content"].startswith("thought")
    assert late[2][1]["content"] != late[1][1]["content"]
    assert edited[1] is not None
    assert edited[2] is not None
    assert edited[2] != edited[0]
    assert again[0] == again[1] != again[2]
    branched, both = asked("branch"), asked("two_chats")
    assert branched[0] != branched[1]
    assert branched[2] is not None
    assert branched[0] is not None
    assert branched[2][:1] == branched[0]
    assert [len(chat or []) for chat in both] == [1, 1, 3, 3, 5, 5]
    assert asked("restart").index(None) == N_TURNS // 2
    swapped = asked("swaps")
    assert [chat is None for chat in swapped] == [False, *[True, False] * (N_TURNS - 1)]
    assert [len(chat) for chat in swapped if chat is not None] == [1, 3, 5, 7, 9, 11]


def test_the_tokens_with_which_two_prompts_begin() -> None:
    assert n_shared([1, 2, 3], [1, 2, 4]) == 2
    assert n_shared([1, 2], [1, 2, 4]) == 2
    assert n_shared([], [1]) == 0
