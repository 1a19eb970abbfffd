"""The chat templates by llama.cpp's names write what llama.cpp's own of these names write."""

from __future__ import annotations

import ctypes
from itertools import product

import llama_cpp
import pytest

from models.errors import ConfigError
from server.chat.named_templates import NAMED, template_of
from server.chat.render import ChatRenderer

CHATS: list[list[tuple[str, str]]] = [
    [("user", " Hi there ")],
    [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye\n")],
]


def by_llama_cpp(name: str, chat: list[tuple[str, str]]) -> str:
    messages = (llama_cpp.llama_chat_message * len(chat))(
        *(llama_cpp.llama_chat_message(role.encode(), text.encode()) for role, text in chat)
    )
    buffer = ctypes.create_string_buffer(10_000)
    size = llama_cpp.llama_chat_apply_template(
        name.encode(), messages, len(chat), True, ctypes.cast(buffer, ctypes.c_char_p), len(buffer)
    )
    assert size > 0, name
    return buffer.raw[:size].decode()


@pytest.mark.parametrize(("name", "chat"), list(product(NAMED, CHATS)))
def test_a_named_template_writes_what_llama_cpps_writes(name: str, chat: list[tuple[str, str]]) -> None:
    renderer = ChatRenderer(template_of(name), "<s>", "</s>", "m", {}, "template")
    try:
        rendered = renderer.render([{"role": role, "content": text} for role, text in chat])
    finally:
        renderer.close()
    assert rendered.text == by_llama_cpp(name, chat)


def test_a_source_stands_for_itself_and_an_unknown_name_is_refused() -> None:
    assert template_of("{{ messages[0].content }}") == "{{ messages[0].content }}"
    assert template_of("no template, but text") == "no template, but text"
    with pytest.raises(ConfigError, match=r"chatlm.*chatml"):
        template_of("chatlm")
