"""Every message reaches the prompt, or the chat is refused; by templates as they are published."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.delivery import CheckedTemplate, Variables
from server.chat.message_changes import Messages
from server.chat.templates import ChatTemplate
from tests.server.chat.strict_templates import FIRST_SYSTEM_ONLY, GEMMA, MISTRAL, MISTRAL_V3, STRICT
from tests.server.chat.test_message_changes import ROLES

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")


def chat(*contents: str) -> Messages:
    """Messages of contents such as `user: Hi`."""
    pairs = (content.split(": ", 1) for content in contents)
    return [{"role": role, "content": text} for role, text in pairs]


def render(source: str, *contents: str, **options: Any) -> str:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>").render(chat(*contents), **options)


def test_a_late_system_message_whose_word_stands_elsewhere_is_not_dropped() -> None:
    text = render(FIRST_SYSTEM_ONLY, "user: Hello", "assistant: Hi", "system: Hello", "user: Hi")
    assert text == "U:Hello;A:Hi;U:Hello\nHi;"


def test_a_late_system_message_moves_no_other() -> None:
    text = render(FIRST_SYSTEM_ONLY, "system: S1", "user: U1", "assistant: A1", "system: S2", "user: U2")
    assert text == "S:S1;U:U1;A:A1;U:S2\nU2;"
    chatml = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    assert render(chatml, "user: U", "system: S", "user: V") == "<user>U<system>S<user>V"
    assert render(chatml, "user: U", "developer: S") == "<user>U<system>S"


def test_only_the_system_message_that_is_dropped_is_moved() -> None:
    """This template shows system messages everywhere but at the second place."""
    source = (
        "{% for m in messages %}{% if m.role != 'system' or loop.index0 != 1 %}"
        "<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}"
    )
    contents = ("user: U1", "system: S1", "user: U2", "system: S2", "user: U3")
    assert render(source, *contents) == "<user>U1<user>S1\nU2<system>S2<user>U3"


def gemma(*turns: str) -> str:
    written = "".join(f"<start_of_turn>{turn}<end_of_turn>\n" for turn in turns)
    return f"<s>{written}<start_of_turn>model\n"


@pytest.mark.parametrize(
    ("source", "contents", "expected"),
    [
        (MISTRAL, ["user: U1", "user: U2"], "<s>[INST] U1\n\nU2 [/INST]"),
        (MISTRAL, ["assistant: A", "user: U"], "<s>[INST]  [/INST]A</s>[INST] U [/INST]"),
        (MISTRAL, ["system: S", "assistant: A", "user: U"], "<s>[INST] S [/INST]A</s>[INST] U [/INST]"),
        (MISTRAL, ["system: S", "system: T", "user: U"], "<s>[INST] S\nT\nU [/INST]"),
        (MISTRAL, ["developer: S", "user: U"], "<s>[INST] S\nU [/INST]"),
        (MISTRAL, ["system: S"], "<s>[INST] S [/INST]"),
        (MISTRAL_V3, ["system: S", "user: U1", "user: U2"], "<s>[INST] S\n\nU1\n\nU2[/INST]"),
        (MISTRAL_V3, ["system: S", "assistant: A", "user: U"], "<s>[INST] [/INST] A</s>[INST] S\n\nU[/INST]"),
        (MISTRAL_V3, ["system: S", "system: T", "user: U"], "<s>[INST] S\n\nT\nU[/INST]"),
        (MISTRAL_V3, ["system: S"], "<s>[INST] S[/INST]"),
        (
            GEMMA,
            ["system: S", "user: U1", "user: U2", "assistant: A", "system: T", "user: U3"],
            gemma("user\nS\nU1\n\nU2", "model\nA", "user\nT\nU3"),
        ),
        (GEMMA, ["assistant: A", "user: U"], gemma("user\n", "model\nA", "user\nU")),
    ],
)
def test_strict_templates_get_what_they_take(source: str, contents: list[str], expected: str) -> None:
    assert render(source, *contents) == expected


@pytest.mark.parametrize("source", [FIRST_SYSTEM_ONLY, MISTRAL, MISTRAL_V3, GEMMA])
@pytest.mark.parametrize("content", ["31 degrees", "I look.", ""])
def test_a_tools_message_is_a_users_where_it_has_no_place(source: str, content: str) -> None:
    text = render(source, "user: How warm is it?", "assistant: I look.", f"tool: {content}")
    written = f"<tool_response>\n{content}\n</tool_response>"
    said = render(source, "user: How warm is it?", "assistant: I look.", f"user: {written}")
    assert text == said
    assert written in text


def test_a_message_that_no_change_saves_is_named() -> None:
    with pytest.raises(RequestError, match=r"no place for messages\[2\], of role 'assistant'") as caught:
        render("{{ messages[0].content }}", "user: a", "user: b", "assistant: c", "user: d")
    assert caught.value.param == "messages[2]"


def test_what_may_be_missing() -> None:
    """Empty contents, and answers that are thoughts: templates leave those of the past out."""
    source = "{% for m in messages %}{{ m.content.split('<think>')[0] }};{% endfor %}"
    assert render(source, "user: Hi", "assistant: <think>Hm", "user: So?") == "Hi;;So?;"
    assert render("{{ messages[0].content }}", "user: Hi", "user:  \n ", "assistant: ") == "Hi"


def test_contents_that_a_template_changes_have_reached_the_prompt() -> None:
    source = "{% for m in messages %}{{ m.content | trim | upper | tojson }}{% endfor %}"
    assert render(source, "system: a \n b", "user:  é") == '"A \\n B""É"'


class Counting:
    """A template that counts its renders."""

    def __init__(self, source: str) -> None:
        self.template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
        self.n = 0
        self.checked = CheckedTemplate(self._render, {})

    def _render(self, messages: Messages, variables: Variables) -> str:
        self.n += 1
        return self.template._render(messages, {**variables, "bos_token": "", "eos_token": ""})

    def cost(self, *contents: str) -> int:
        self.n = 0
        self.checked.render(chat(*contents), {})
        return self.n


@pytest.mark.parametrize("source", [GEMMA, MISTRAL_V3, FIRST_SYSTEM_ONLY])
def test_a_usual_chat_is_rendered_once(source: str) -> None:
    template = Counting(source)
    template.cost("system: a", "user: b", "assistant: c", "user: d", "user: e")
    assert template.cost("system: A", "user: B", "assistant: C", "user: D", "user: E") == 1
    template.cost("user: b", "assistant: c", "user: d")
    assert template.cost("user: B", "assistant: C", "user: D", "assistant: E", "user: F") == 1


def test_a_chat_with_thoughts_of_the_past_is_rendered_once() -> None:
    template = Counting("{% for m in messages %}{{ m.content.split('</think>')[-1] }};{% endfor %}")
    template.cost("user: a", "assistant: <think>b</think>c", "user: d")
    assert template.cost("user: A", "assistant: <think>B</think>C", "user: D") == 1


def test_a_chat_whose_words_are_not_found_is_looked_at_again() -> None:
    template = Counting(
        "{% for m in messages %}{% if m.content != 'x' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    template.cost("user: a", "user: b")
    assert template.cost("user: a", "user: c") == 1
    assert template.cost("user: a", "user: x") > 1


def test_what_is_kept_is_bounded() -> None:
    template = Counting("{% for m in messages %}{{ m.content }}{% endfor %}")
    for i in range(300):
        template.checked.render(chat("user: a"), {}, kind=str(i).encode())
    assert len(template.checked._kept) == 256


def random_chats(n: int, tools: bool) -> list[Messages]:
    rng = random.Random(17)
    initials = "sduauat" if tools else "sduaua"
    made = []
    for _ in range(n):
        roles = [ROLES[initial] for initial in rng.choices(initials, k=rng.randint(1, 7))]
        made.append([_message(role, f"W{i}{role[0]}Z") for i, role in enumerate(roles)])
    return made


def _message(role: str, content: str) -> dict[str, Any]:
    message = {"role": role, "content": content}
    return message | {"tool_call_id": "abc123def", "name": "f"} if role == "tool" else message


def arrives(text: str, messages: Messages) -> bool:
    """True if each content is there once, and those of all but system messages in their order."""
    contents = [message["content"] for message in messages]
    turns = [m["content"] for m in messages if m["role"] not in ("system", "developer")]
    places = [text.find(content) for content in turns]
    return all(text.count(content) == 1 for content in contents) and places == sorted(places)


@pytest.mark.parametrize("name", sorted(STRICT))
def test_any_order_of_messages_arrives(name: str) -> None:
    template = ChatTemplate(STRICT[name], bos_token="<s>", eos_token="</s>")
    for messages in random_chats(200, tools=False):
        assert arrives(template.render(messages), messages), messages


@pytest.mark.parametrize("name", sorted(STRICT))
def test_messages_of_tools_arrive(name: str) -> None:
    template = ChatTemplate(STRICT[name], bos_token="<s>", eos_token="</s>")
    for messages in random_chats(100, tools=True):
        assert arrives(template.render(messages), messages), messages


@pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources")
def test_real_templates() -> None:
    paths = sorted((Path(SOURCES or ".") / "models" / "templates").glob("*.jinja"))
    assert len(paths) >= 70
    for path in paths:
        template = ChatTemplate(path.read_text(), bos_token="<s>", eos_token="</s>")
        for messages in random_chats(15, tools=False):
            assert arrives(template.render(messages), messages), (path.name, messages)
        for messages in random_chats(8, tools=True):
            try:
                text = template.render(messages)
            except RequestError:  # Qwen3.5's wants a user's turn, Mistral's that no result comes first
                roles = [message["role"] for message in messages]
                assert "user" not in roles or roles[0] == "tool", (path.name, messages)
            else:
                assert arrives(text, messages), (path.name, messages)
