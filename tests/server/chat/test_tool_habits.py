from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.begun_answer import BegunAnswer
from server.chat.templates import ChatTemplate
from server.chat.tool_habits import ToolHabits
from tests.server.chat.tool_chats import CHATS, SYSTEM, TOOL, USER, answer, call, result

TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}"
RESULTS = (
    "{% for m in messages %}{% if m.role in ('user', 'system') %}{{ m.content }};"
    "{% elif m.role == 'tool' %}R:{{ m.content }};"
)
CALLS = (
    TOOLS + RESULTS + "{% else %}{{ m.content }}{% for c in m.tool_calls or [] %}"
    "C:{{ c.function.name }}:ARGUMENTS;{% endfor %}{% endif %}{% endfor %}"
)
BOTH = CALLS.replace(
    "ARGUMENTS",
    "{% if c.function.arguments is string %}{{ c.function.arguments }}"
    "{% else %}{{ c.function.arguments | tojson }}{% endif %}",
)
OBJECT = CALLS.replace("ARGUMENTS", "{{ c.function.arguments | tojson }}")
TEXT = CALLS.replace("ARGUMENTS", "{{ c.function.arguments }}")
JOINED = CALLS.replace("ARGUMENTS", "{{ '' + c.function.arguments }}")
WALKED = CALLS.replace(
    "ARGUMENTS", "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }},{% endfor %}"
)
COMPACT = {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}


def render(source: str, chat: list[dict[str, Any]], tools: bool = True) -> str:
    return ChatTemplate(source).render(chat, tools=[TOOL] if tools else [])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (BOTH, '{"city":"Oslo"}'),
        (TEXT, '{"city":"Oslo"}'),
        (JOINED, '{"city":"Oslo"}'),
        (OBJECT, '{"city": "Oslo"}'),
        (WALKED, "city=Oslo,"),
    ],
)
def test_arguments_have_the_form_that_the_template_wants(source: str, expected: str) -> None:
    chat = [USER, answer(None, COMPACT), {"role": "tool", "tool_call_id": "c", "content": "31"}]
    assert f"C:get_weather:{expected};" in render(source, chat)


def test_calls_have_messages_of_their_own_where_one_takes_one() -> None:
    one = OBJECT.replace(
        "{% for c in",
        "{% if m.tool_calls and m.tool_calls | length != 1 %}{{ raise_exception('one') }}"
        "{% endif %}{% for c in",
    )
    text = render(one, CHATS["two calls"], tools=False)
    assert text.split(";")[1:5] == [
        'C:get_weather:{"city": "Oslo"}',
        "R:31 deg",
        'C:get_weather:{"city": "Bern"}',
        "R:32 deg",
    ]
    swapped = [*CHATS["two calls"][:2], result(2, "32 deg"), result(1, "31 deg")]
    assert render(one, swapped, tools=False) == text


def test_content_that_calls_hide_stands_before_them() -> None:
    source = OBJECT.replace(
        "{{ m.content }}{% for c", "{% if not m.tool_calls %}{{ m.content }};{% endif %}{% for c"
    )
    assert render(source, CHATS["content beside a call"], tools=False) == (
        'How warm is it?;I look.;C:get_weather:{"city": "Oslo"};R:31 deg;'
    )


def test_ids_of_nine_letters() -> None:
    short = OBJECT.replace(
        "C:", "{% if c.id | length != 9 %}{{ raise_exception('nine') }}{% endif %}{{ c.id }}:"
    )
    text = render(short, CHATS["call"], tools=False)
    assert '000000001:get_weather:{"city": "Oslo"};' in text


def test_ids_that_are_functions() -> None:
    source = OBJECT.replace("C:{{ c.function.name }}", "{{ c.id }}").replace("R:", "R {{ m.tool_call_id }}:")
    text = render(source, CHATS["two calls"])
    assert "functions.get_weather:1:" in text
    assert "R functions.get_weather:0:31 deg;R functions.get_weather:1:32 deg;" in text


def test_lost_tools_calls_and_results_are_taught_in_words() -> None:
    """The second tool, or a call in a later message, is lost natively; then all of it is generic."""
    two = [TOOL, json.loads(json.dumps(TOOL).replace("get_weather", "get_wind"))]
    first_only = BOTH.replace("tools | tojson", "tools[0] | tojson")
    prompt = ChatTemplate(first_only).prompt([USER], tools=two)
    assert prompt.is_generic
    assert "get_wind" in prompt.text
    assert not ChatTemplate(first_only).prompt([USER], tools=two[:1]).is_generic
    later = BOTH.replace("{% for c in m.tool_calls", "{% for c in loop.index < 3 and m.tool_calls")
    chat = [*CHATS["call"], answer(None, call(2, "Bern")), result(2, "32 deg")]
    prompt = ChatTemplate(later).prompt(chat, tools=[TOOL])
    assert prompt.is_generic
    assert "Bern" in prompt.text


def test_a_template_that_refuses_everything_says_why() -> None:
    source = BOTH.replace(TOOLS, "{% if messages | length > 2 %}{{ raise_exception('too long') }}{% endif %}")
    with pytest.raises(RequestError, match="too long"):
        render(source, [SYSTEM, USER, answer(None, call(1, "Oslo")), result(1, "31 deg")])


def test_messages_without_calls_stay_as_they_are() -> None:
    chat = [SYSTEM, USER]
    assert ToolHabits(shows_tools=True, shows_calls=True).prepared(chat) is chat


def test_schemas_are_shown_as_the_template_wants_them_or_in_words() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    plain = "{% for m in messages %}{{ m.content }};{% endfor %}"
    words = ChatTemplate(plain).render([USER], schema=json.dumps(schema))
    assert words.startswith(
        "Answer with JSON that matches this JSON schema, and nothing else:\n" + json.dumps(schema)
    )
    for variable in ("response_schema | tojson", "response_format | tojson", "response_format"):
        name = variable.split()[0]
        source = plain + "{% if " + name + " %}[{{ " + variable + " }}]{% endif %}"
        text = ChatTemplate(source).render([USER], schema=json.dumps(schema))
        assert text == f"How warm is it?;[{json.dumps(schema)}]"


def test_the_models_own_ids_come_back() -> None:
    ident = "call_0123456789abcdef01234567_a1B2c3D4e"
    chat = [
        USER,
        answer(None, {**COMPACT, "id": ident}),
        {"role": "tool", "tool_call_id": ident, "content": "31"},
    ]
    source = OBJECT.replace("C:", "{{ c.id }}:").replace("R:", "R {{ m.tool_call_id }}:")
    assert 'a1B2c3D4e:get_weather:{"city": "Oslo"};R a1B2c3D4e:31;' in render(source, chat)


def test_thoughts_are_parts_of_a_content_where_the_template_reads_them_so() -> None:
    parts = (
        "{{ m.content if m.content is string else '' }}{% for p in m.content if m.content is not string %}"
        "{% if p.type == 'thinking' %}[THINK]{{ p['thinking'] }}[/THINK]{% else %}{{ p.text }}{% endif %}"
        "{% endfor %}"
    )
    source = OBJECT.replace("{{ m.content }}{% for c", parts + "{% for c")
    chat = [USER, answer("I look.", call(1, "Oslo"), reasoning_content="Hm."), result(1, "31 deg")]
    text = "How warm is it?;[THINK]Hm.[/THINK]I look.C:get_weather:"
    assert text in render(source, chat)
    prompt = ChatTemplate(source).prompt([USER], tools=[TOOL])
    assert prompt.thoughts == ("[THINK]", "[/THINK]")


def test_marks_that_a_template_puts_together_are_found() -> None:
    source = OBJECT.replace(
        "{{ m.content }}{% for c",
        "{% set k = 'think' %}{{ '<' + k + '>' + (m.reasoning_content or '') + '</' + k + '>' }}"
        "{{ m.content }}{% for c",
    )
    assert ChatTemplate(source).prompt([USER]).thoughts == ("<think>", "</think>")


def test_a_begun_answer_goes_on_behind_tools_and_calls() -> None:
    prompt = ChatTemplate(OBJECT).prompt(CHATS["call"], tools=[TOOL], begun=BegunAnswer("It is"))
    assert prompt.text.endswith('C:get_weather:{"city": "Oslo"};R:31 deg;It is')
    generic = ChatTemplate("{% for m in messages %}{{ m.content }};{% endfor %}")
    prompt = generic.prompt(CHATS["call"], tools=[TOOL], begun=BegunAnswer("It is"))
    assert prompt.is_generic
    assert prompt.text.endswith("31 deg\n</tool_response>;It is")
