from __future__ import annotations

import time
from pathlib import Path

import pytest

from models.errors import StoreError
from server.pages.database import ChatDatabase
from server.pages.records import ChatHead, Content, Message, Missing, Role

BIG = 1 << 20


def chat(name: str, updated: float = 0.0) -> ChatHead:
    return ChatHead(
        id=name,
        title="",
        created=updated,
        updated=updated,
        head=None,
        settings={"system": "S", "parameters": {}},
    )


def message(name: str, text: str, parent: str | None = None, role: Role = "user") -> Message:
    return Message(
        id=name, parent=parent, role=role, state="complete", created=1.0, content=Content(text=text)
    )


@pytest.fixture
def database(tmp_path: Path) -> ChatDatabase:
    return ChatDatabase(tmp_path / "chats.sqlite", BIG)


def test_a_chat_is_what_was_kept_also_after_the_file_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite"
    first = ChatDatabase(path, BIG)
    first.add("me", chat("c"))
    first.append("me", "c", [message("1", "Hello"), message("2", "Hi", "1", "assistant")], "A title")
    first.close()
    head, messages = ChatDatabase(path, BIG).chat("me", "c")
    assert (head.title, head.head, head.settings["system"]) == ("A title", "2", "S")
    assert [(each.id, each.parent, each.content.text) for each in messages] == [
        ("1", None, "Hello"),
        ("2", "1", "Hi"),
    ]


def test_another_owner_has_no_part_in_it(database: ChatDatabase) -> None:
    database.add("me", chat("c"))
    database.append("me", "c", [message("1", "secret")], "secret")
    assert database.chats("you", []) == []
    assert database.chats("you", ["secret"]) == []
    for action in (
        lambda: database.chat("you", "c"),
        lambda: database.update("you", "c", {"title": "mine"}),
        lambda: database.delete("you", "c"),
        lambda: database.append("you", "c", [message("2", "x")], None),
    ):
        with pytest.raises(Missing):
            action()
    assert database.delete_all("you") == 0
    assert database.chat("me", "c")[0].title == "secret"


def test_a_search_finds_chats_with_all_words_in_any_case(database: ChatDatabase) -> None:
    for name, texts in {"a": ["Straßen in Köln"], "b": ["one", "TWO three"], "c": ["one four"]}.items():
        database.add("me", chat(name, time.time()))
        database.append(
            "me", name, [message(f"{name}{i}", text) for i, text in enumerate(texts)], f"Title {name}"
        )

    def found(*words: str) -> list[str]:
        return sorted(each.id for each in database.chats("me", words))

    assert found("one") == ["b", "c"]
    assert found("ONE", "two") == ["b"]
    assert found("strassen") == ["a"]  # as case folding has it
    assert found("KÖLN") == ["a"]
    assert found("title", "four") == ["c"]
    assert found("100%") == found("_") == []  # no wildcards
    assert database.chats("me", ["three"])[0].snippet == "two three"


def test_the_newest_chat_is_the_first(database: ChatDatabase) -> None:
    database.add("me", chat("old", 1.0))
    database.add("me", chat("new", 2.0))
    assert [each.id for each in database.chats("me", [])] == ["new", "old"]
    database.append("me", "old", [message("1", "x")], None)
    assert [each.id for each in database.chats("me", [])] == ["old", "new"]


def test_a_head_or_parent_that_is_not_the_chats_is_refused(database: ChatDatabase) -> None:
    for name in ("a", "b"):
        database.add("me", chat(name))
        database.append("me", name, [message(f"in-{name}", "x")], None)
    with pytest.raises(Missing):
        database.update("me", "a", {"head": "in-b"})
    with pytest.raises(Missing):
        database.append("me", "a", [message("2", "y", "in-b")], None)
    assert len(database.chat("me", "a")[1]) == 1


def test_beyond_the_limit_the_oldest_chats_go_and_never_the_one_that_grows(tmp_path: Path) -> None:
    database = ChatDatabase(tmp_path / "chats.sqlite", 20_000)
    for number in range(5):
        database.add("me", chat(str(number), float(number)))
        database.append("me", str(number), [message(f"m{number}", "x" * 6_000)], None)
    kept = [each.id for each in database.chats("me", [])]
    assert kept == ["4", "3"]
    with pytest.raises(StoreError, match="web_page_bytes"):
        database.append("me", "4", [message("large", "y" * 30_000, "m4")], None)
    assert [each.id for each in database.chats("me", [])] == kept  # nothing was changed


def test_saving_an_answer_replaces_it_and_counts_its_bytes(tmp_path: Path) -> None:
    database = ChatDatabase(tmp_path / "chats.sqlite", 20_000)
    for name in ("old", "new"):
        database.add("me", chat(name, 1.0 if name == "old" else 2.0))
        database.append("me", name, [message(name, "")], None)
    answer = message("new", "z" * 19_000)
    assert database.save(answer)
    assert [each.id for each in database.chats("me", [])] == ["new"]
    assert database.chat("me", "new")[1][0].content.text == answer.content.text
    database.delete("me", "new")
    assert not database.save(answer)
