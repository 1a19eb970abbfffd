"""Anthropic's library for Python over Messages."""

from __future__ import annotations

import anthropic
from checking import CITY, HI, KEY, MODEL, URL, check, main, raised
from pydantic import BaseModel

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0, timeout=60)
TOOL = {"name": "weather", "description": "Weather of a city.", "input_schema": CITY}


class City(BaseModel):
    name: str
    inhabitants: int


def ask(max_tokens=256, messages=HI, **more):
    return client.messages.create(model=MODEL, max_tokens=max_tokens, messages=messages, **more)


@check
def models():
    assert MODEL in [model.id for model in client.models.list()]


@check
def message():
    done = ask(system="Be short.")
    assert done.stop_reason == "end_turn"
    assert done.content[0].text
    assert ask(max_tokens=2).stop_reason == "max_tokens"


@check
def stream():
    with client.messages.stream(model=MODEL, max_tokens=64, messages=HI) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    assert text == final.content[0].text
    assert final.usage.output_tokens > 0


@check
def count_tokens():
    counted = client.messages.count_tokens(model=MODEL, messages=HI, tools=[TOOL]).input_tokens
    usage = ask(tools=[TOOL], tool_choice={"type": "none"}).usage
    whole = (
        usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    )
    assert counted == whole, (counted, whole)


@check
def tool_loop():
    done = ask(tools=[TOOL], tool_choice={"type": "any"})
    call = next(block for block in done.content if block.type == "tool_use")
    assert done.stop_reason == "tool_use"
    assert "city" in call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "rain"}]}
    turns = [*HI, {"role": "assistant", "content": done.content}, {"role": "user", "content": [result]}]
    assert ask(messages=turns, tools=[TOOL]).content[0].text


@check
def named_tool_streamed():
    choice = {"type": "tool", "name": "weather"}
    with client.messages.stream(
        model=MODEL, max_tokens=256, messages=HI, tools=[TOOL], tool_choice=choice
    ) as events:
        final = events.get_final_message()
    assert [block.name for block in final.content if block.type == "tool_use"] == ["weather"]


@check
def parse():
    done = client.messages.parse(model=MODEL, max_tokens=200, messages=HI, output_format=City)
    assert isinstance(done.parsed_output, City)


@check
def cache_control_and_thinking():
    system = [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}]
    assert ask(max_tokens=2048, system=system, thinking={"type": "adaptive"}).content


@check
def errors():
    raised(
        anthropic.NotFoundError,
        lambda: client.messages.create(model="no-such-model", max_tokens=8, messages=HI),
    )
    bad = raised(anthropic.BadRequestError, lambda: ask(max_tokens=-8))
    assert bad.body["type"] == "error"
    assert bad.body["error"]["type"] == "invalid_request_error"


main()
