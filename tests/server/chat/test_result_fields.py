from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from server.chat.result_fields import with_result_fields
from server.chat.templates import ChatTemplate
from tests.server.chat.tool_chats import CHATS, TOOL, USER, answer, call, result

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")

FIELDS = (
    "{{ (tools or []) | tojson }}{% for m in messages %}{{ m.role }}={% for c in m.tool_calls or [] %}"
    "C:{{ c.function.name }}{{ c.function.arguments | tojson }};{% endfor %}"
    "{% for r in m.tool_responses or [] %}R:{{ r.name }}:{{ r.response }};{% endfor %}"
    "{{ m.content }}|{% endfor %}"
)
BOTH = FIELDS.replace("{{ m.role }}=", "{% if m.role == 'tool' %}result={% else %}{{ m.role }}={% endif %}")
WARM = {"role": "assistant", "content": "Warm."}


def behind_tools(source: str, chat: list[dict[str, Any]]) -> str:
    return ChatTemplate(source).render(chat, tools=[TOOL]).partition("}]")[2].partition("user=")[2]


def test_results_stand_beside_their_calls_where_the_template_wants_them_there() -> None:
    assert behind_tools(FIELDS, [*CHATS["two calls"], WARM, USER]) == (
        'How warm is it?|assistant=C:get_weather{"city": "Oslo"};C:get_weather{"city": "Bern"};'
        "R:get_weather:31 deg;R:get_weather:32 deg;Warm.|user=How warm is it?|"
    )


def test_an_answer_with_further_calls_is_a_message_of_its_own() -> None:
    chat = [*CHATS["call"], answer("", call(2, "Bern")), result(2, "32 deg"), WARM]
    assert behind_tools(FIELDS, chat).count("assistant=") == 2


def test_a_template_that_knows_the_role_gets_messages_of_it() -> None:
    assert "|result=31 deg|" in behind_tools(BOTH, CHATS["call"])


def test_a_result_is_named_as_its_call_is() -> None:
    unnamed = {"role": "tool", "tool_call_id": "b", "content": "32"}
    calls = [
        {"id": ident, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for ident, name in (("a", "one"), ("b", "two"))
    ]
    (asked, message) = with_result_fields([USER, answer("", *calls), unnamed])
    assert asked == USER
    assert message["tool_responses"] == [{"name": "two", "response": "32"}]


@pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources")
@pytest.mark.parametrize("name", sorted({"call", "two calls", "a user after a result"}))
def test_both_templates_of_gemma_4_give_one_prompt(name: str) -> None:
    """The first reads results beside calls, the later one messages of the role `tool`."""
    folder = Path(SOURCES or ".", "models", "templates")
    first, later = (
        ChatTemplate((folder / f"google-gemma-4-31B-it{kind}.jinja").read_text()).render(
            [*CHATS[name], *([WARM, USER] if name == "two calls" else [])],
            tools=[TOOL],
            template_kwargs={"enable_thinking": True},
        )
        for kind in ("-interleaved", "")
    )
    assert first.partition("<|turn>user")[2] == later.partition("<|turn>user")[2]
