"""Definitions of tools that a chat template can't render as the client sent them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.plain_definitions import plain_definition
from server.chat.templates import ChatTemplate
from tests.server.chat.test_sound_schemas import FAULTS

CHAT = [{"role": "user", "content": "How?"}]
WALKING = """{% for tool in tools or [] %}{{ tool.function.name }}: {{ tool.function.description }}
{%- for name, member in tool.function.parameters.properties.items() %}
{{ name }} ({{ member.type }}): {{ member.description + "!" }}{% endfor %}
{%- if tool.function.name == "boom" %}{{ raise_exception("boom") }}{% endif %}
{% endfor %}{% for message in messages %}
{%- if "refused" in message.content | string %}{{ raise_exception("no") }}{% endif %}{{ message.content }}
{%- for call in message.tool_calls or [] %}{{ call.function }}{% endfor %}{% endfor %}"""
"""A template that walks the schema and needs descriptions."""

COMMON: dict[str, dict[str, Any]] = {
    "without descriptions": {"type": "object", "properties": {"a": {"type": "string"}}},
    "may be null": {"type": "object", "properties": {"a": {"type": ["string", "null"]}}},
    "an object": {"type": "object", "properties": {"a": {"type": "object"}}},
    "anything": {"type": "object", "properties": {"a": True}},
    "other descriptions": {"type": "object", "description": 5, "properties": {"a": {"description": 7}}},
    "empty": {},
}


def definition(parameters: dict[str, Any], name: str = "get_weather") -> dict[str, Any]:
    function = {"name": name, "description": "Get it.", "parameters": parameters}
    return {"type": "function", "function": function}


def template(source: str = WALKING) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>")


def test_a_template_gets_what_it_walks() -> None:
    prompt = template().prompt(CHAT, tools=[definition(COMMON["may be null"])])
    assert "a (string): !" in prompt.text
    assert not prompt.is_generic


def test_a_definition_that_a_template_takes_stays_the_client_s() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": ["string", "null"], "description": "A"}}}
    assert "a (['string', 'null']): A!" in template().prompt(CHAT, tools=[definition(parameters)]).text


def test_what_a_template_refuses_nevertheless_is_taught() -> None:
    prompt = template().prompt(CHAT, tools=[definition(COMMON["empty"], "boom")])
    assert prompt.is_generic
    assert "boom" in prompt.text


def test_a_chat_that_is_refused_for_its_own_sake_is_refused() -> None:
    with pytest.raises(RequestError):
        template().prompt([{"role": "user", "content": "refused"}], tools=[definition(COMMON["empty"])])


def test_nothing_else_is_changed() -> None:
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "integer", "description": "A", "minimum": 1}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert plain_definition(definition(parameters)) == definition(parameters)


@pytest.mark.skipif(not os.environ.get("CORRAL_LLAMA_CPP_SOURCE"), reason="CORRAL_LLAMA_CPP_SOURCE isn't set")
def test_no_published_template_refuses_a_tool() -> None:
    sources = Path(os.environ["CORRAL_LLAMA_CPP_SOURCE"]) / "models" / "templates"
    for path in sorted(sources.glob("*.jinja")):
        published = template(path.read_text(encoding="utf-8"))
        for case, schema in {**COMMON, **{name: fault for name, (fault, _) in FAULTS.items()}}.items():
            assert "get_weather" in published.prompt(CHAT, tools=[definition(schema)]).text, (path.stem, case)
