from __future__ import annotations

import json

from server.pages import export, requests
from server.pages.records import Call, ChatHead, Content, Message
from server.pages.requests import ChatCreation

CHAT = ChatHead(
    id="chat",
    title="Fun & games",
    created=0.0,
    updated=0.0,
    head="3",
    settings={"model": "demo", "system": "Be kind.", "parameters": {"seed": 4}},
)
MESSAGES = [
    Message(id="1", parent=None, role="user", state="complete", created=1.0, content=Content(text="Go")),
    Message(
        id="2",
        parent="1",
        role="assistant",
        state="complete",
        created=2.0,
        content=Content(
            text="Looking.", thoughts="a\nb", model="demo", calls=[Call(id="c", name="f", arguments="{}")]
        ),
    ),
    Message(
        id="3",
        parent="2",
        role="tool",
        state="complete",
        created=3.0,
        content=Content(text="has ``` a fence", call_id="c"),
    ),
    Message(id="4", parent=None, role="user", state="complete", created=4.0, content=Content(text="Else")),
]


def test_what_is_exported_can_be_brought_back() -> None:
    exported = export.as_json(CHAT, MESSAGES)
    head, messages = requests.imported(requests.decode(exported, ChatCreation))
    assert (head.title, head.settings) == (CHAT.title, CHAT.settings)
    places = {message.id: place for place, message in enumerate(messages)}
    assert [places.get(message.parent or "") for message in messages] == [None, 0, 1, None]
    assert head.head == messages[2].id
    assert [message.content.text for message in messages] == [each.content.text for each in MESSAGES]
    assert messages[1].content == MESSAGES[1].content
    assert {message.id for message in messages}.isdisjoint({"1", "2", "3", "4"})
    again = json.loads(export.as_json(head, messages))
    assert again["settings"] == json.loads(exported)["settings"]


def test_markdown_has_the_shown_branch() -> None:
    text = export.as_markdown(CHAT, requests.branch(MESSAGES, "3")).decode()
    assert text == (
        "# Fun & games\n\n1970-01-01\n\n## System\n\nBe kind.\n\n## You\n\nGo\n\n"
        "## demo\n\n> a\n> b\n\nLooking.\n\n"
        "### Call of f (c)\n\n```json\n{}\n```\n\n### Result of c\n\n````\nhas ``` a fence\n````\n"
    )


def test_names_of_files_are_plain() -> None:
    assert export.file_name('../../etc/"pass wd"\r\n', "md") == "etc-pass-wd.md"
    assert export.file_name("日本", "json") == "chat.json"
