from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from models.errors import RequestError
from server.chat.generic_tools import introduction, with_generic_tools
from server.chat.prompt_formats import PROMPT_FORMATS
from server.chat.render import ChatRenderer
from server.chat.templates import ChatTemplate
from server.chat.tool_formats.registry import tool_formats
from server.chat.tool_formats.tool_format import CallWriter
from server.chat.tools import Tool
from tests.server.chat.strict_templates import STRICT
from tests.server.chat.tool_chats import CHATS, SYSTEM, TOOL, USER
from tests.server.chat.tool_formats.sample import CODE, TOOLS, Call, read

WEATHER = Tool(
    name="get_weather",
    description="Get the weather.",
    parameters=TOOL["function"]["parameters"],
)


@contextmanager
def renderer(template: str | None, name: str = "m") -> Iterator[ChatRenderer]:
    made = ChatRenderer(template, "<s>", "</s>", name, {})
    yield made
    made.close()


def test_the_words_that_teach_the_format() -> None:
    assert introduction([{"type": "function", "function": {"name": "f"}}]) == (
        "You can call these functions. Each line defines one as JSON:\n"
        '<tools>\n{"type": "function", "function": {"name": "f"}}\n</tools>\n\n'
        "To call a function, write a JSON object with its name and its arguments between these marks:\n"
        '<tool_call>\n{"name": "NAME", "arguments": {"PARAMETER": "VALUE"}}\n</tool_call>\n'
        "Its result comes in the next message, between <tool_response> and </tool_response>."
    )


def test_calls_and_results_are_text() -> None:
    chat = with_generic_tools(CHATS["two calls"], [TOOL])
    assert [message["role"] for message in chat] == ["system", "user", "assistant", "user"]
    assert chat[2]["content"] == (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>'
    )
    assert chat[3]["content"] == (
        "<tool_response>\n31 deg\n</tool_response>\n<tool_response>\n32 deg\n</tool_response>"
    )
    assert with_generic_tools(CHATS["content beside a call"], [])[1]["content"].startswith("I look.\n<tool")


def test_the_definitions_follow_the_system_text() -> None:
    first = with_generic_tools([SYSTEM, USER], [TOOL])[0]
    assert first["content"] == "Be brief.\n\n" + introduction([TOOL])


@pytest.mark.parametrize("name", sorted(PROMPT_FORMATS))
@pytest.mark.parametrize("chat", sorted(CHATS))
def test_built_in_formats_teach_it(name: str, chat: str) -> None:
    with renderer(None) as made:
        prompt = made.render(CHATS[chat], tools=[WEATHER], prompt_format=name)
    assert prompt.form.tool_format == "generic"
    assert introduction([TOOL]) in prompt.text
    assert prompt.text.count("31 deg") == (chat not in ("tools", "system"))


@pytest.mark.parametrize("name", sorted(STRICT))
def test_templates_without_tools_teach_it(name: str) -> None:
    with renderer(STRICT[name]) as made:
        for chat in CHATS.values():
            prompt = made.render(chat, tools=[WEATHER])
            assert prompt.form.tool_format == "generic"
            assert introduction([TOOL]) in prompt.text


LFM2 = (
    "{% if tools %}List of tools: {{ tools | tojson }};{% endif %}"
    "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
)
"""The shape of LFM2's template: it describes tools and shows results, and writes no calls."""


def test_calls_are_written_as_the_model_does_where_its_template_writes_none() -> None:
    prompt = ChatTemplate(LFM2).prompt(CHATS["content beside a call"], tools=[TOOL])
    assert not prompt.is_generic
    call = '<|tool_call_start|>[get_weather(city="Oslo")]<|tool_call_end|>'
    assert prompt.text.endswith(f";assistant:I look.{call};tool:31 deg;")
    refusing = LFM2.replace(
        "{% for m in messages %}",
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}",
    )
    assert "<tool_response>\n31 deg\n</tool_response>" in ChatTemplate(refusing).render(
        CHATS["call"], tools=[TOOL]
    )


@pytest.mark.parametrize("name", ["lfm2", "granite", "firefunction", "phi4_mini", "mistral_list"])
def test_written_calls_are_read_back(name: str) -> None:
    options = {"dry": True, "tags": ["a", {"b": "}"}]}
    calls = [
        Call("get_weather", {"city": "Paris"}),
        Call("run", {"code": CODE, "options": options, "level": None}),
        Call("now", {}),
    ]
    known = tool_formats()[name]
    assert isinstance(known, CallWriter)
    written = known.write([(call.name, json.dumps(call.arguments, ensure_ascii=False)) for call in calls])
    assert read(known.reader(TOOLS, thoughts=None, thinks=False), written) == ("", "", calls)


def test_a_refusal_with_another_cause_stays_one() -> None:
    """Only what is refused for its tools and calls is told in words instead."""
    strict = (
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}"
        "{% if m.role == 'user' and 'forbidden' in (m.content | string) %}"
        "{{ raise_exception('forbidden') }}{% endif %}"
        "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function }}{% endfor %};{% endfor %}"
    )
    chat = [*CHATS["call"], {"role": "user", "content": "forbidden"}]
    with pytest.raises(RequestError, match="forbidden") as caught:
        ChatTemplate(strict).render(chat, tools=[TOOL])
    assert caught.value.param == "messages[3]"
