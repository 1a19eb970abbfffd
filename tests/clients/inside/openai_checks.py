"""OpenAI's library for Python over chat completions, completions and Responses."""

from __future__ import annotations

import json

import openai
from checking import CITY, EMBEDDER, HI, KEY, MODEL, URL, check, main, raised
from pydantic import BaseModel

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=60)
chats = client.chat.completions
FUNCTION = {"name": "weather", "description": "Weather of a city.", "parameters": CITY}
TOOL = {"type": "function", "function": FUNCTION}
RESPONSES_TOOL = {"type": "function", **FUNCTION, "strict": True}


class City(BaseModel):
    name: str
    inhabitants: int


@check
def models():
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


@check
def chat():
    done = chats.create(model=MODEL, messages=HI, max_tokens=32_000)
    assert done.choices[0].finish_reason == "stop"
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


@check
def chat_at_its_limit():
    assert chats.create(model=MODEL, messages=HI, max_tokens=2).choices[0].finish_reason == "length"


@check
def parts_and_developer():
    parts = [{"type": "text", "text": "Say "}, {"type": "text", "text": "hi."}]
    messages = [{"role": "developer", "content": "Be short."}, {"role": "user", "content": parts}]
    assert chats.create(model=MODEL, messages=messages, max_completion_tokens=64).choices[0].message.content


@check
def stream():
    options = {"include_usage": True}
    chunks = list(chats.create(model=MODEL, messages=HI, stream=True, stream_options=options))
    assert chunks[-1].usage.total_tokens > 0
    assert not chunks[-1].choices
    ends = [one.choices[0].finish_reason for one in chunks if one.choices and one.choices[0].finish_reason]
    assert ends == ["stop"]


@check
def stream_helper():
    with chats.stream(model=MODEL, messages=HI) as events:
        assert [event.type for event in events]
        assert events.get_final_completion().choices[0].message.content


@check
def tool_loop():
    done = chats.create(model=MODEL, messages=HI, tools=[TOOL], tool_choice="required")
    (call,) = done.choices[0].message.tool_calls
    assert done.choices[0].finish_reason == "tool_calls"
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    told = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    again = chats.create(model=MODEL, messages=[*HI, done.choices[0].message, told], tools=[TOOL])
    assert again.choices[0].message.content


@check
def named_tool_streamed():
    choice = {"type": "function", "function": {"name": "weather"}}
    with chats.stream(model=MODEL, messages=HI, tools=[TOOL], tool_choice=choice) as events:
        final = events.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.name == "weather"


@check
def parse():
    parsed = chats.parse(model=MODEL, messages=HI, response_format=City).choices[0].message.parsed
    assert isinstance(parsed, City)


@check
def parse_streamed():
    with chats.stream(model=MODEL, messages=HI, response_format=City) as events:
        assert isinstance(events.get_final_completion().choices[0].message.parsed, City)


@check
def json_object():
    done = chats.create(model=MODEL, messages=HI, response_format={"type": "json_object"})
    assert isinstance(json.loads(done.choices[0].message.content), dict)


@check
def logprobs_of_two():
    done = chats.create(model=MODEL, messages=HI, max_tokens=4, n=2, logprobs=True, top_logprobs=1)
    assert len(done.choices) == 2
    assert len(done.choices[0].logprobs.content) == 4


@check
def completions():
    assert client.completions.create(model=MODEL, prompt="Once", max_tokens=4).choices[0].text is not None


@check
def embeddings():
    assert len(client.embeddings.create(model=EMBEDDER, input=["a", "b"]).data) == 2


@check
def responses():
    done = client.responses.create(model=MODEL, input="Say hi.")
    assert done.status == "completed"
    assert done.output_text
    again = client.responses.create(model=MODEL, input="And again.", previous_response_id=done.id)
    assert again.usage.input_tokens > done.usage.input_tokens
    assert client.responses.retrieve(done.id).output_text == done.output_text
    client.responses.delete(done.id)
    raised(openai.NotFoundError, lambda: client.responses.retrieve(done.id))


@check
def responses_stream():
    with client.responses.stream(model=MODEL, input="Say hi.") as events:
        kinds = [event.type for event in events]
        assert events.get_final_response().usage.total_tokens > 0
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


@check
def responses_tools():
    done = client.responses.create(
        model=MODEL, input="Say hi.", tools=[RESPONSES_TOOL], tool_choice="required"
    )
    call = next(item for item in done.output if item.type == "function_call")
    told = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    items = [{"role": "user", "content": "Say hi."}, call, told]
    assert client.responses.create(model=MODEL, input=items, tools=[RESPONSES_TOOL]).output_text


@check
def responses_parse():
    assert isinstance(client.responses.parse(model=MODEL, input="Hi.", text_format=City).output_parsed, City)


@check
def errors():
    missing = raised(openai.NotFoundError, lambda: chats.create(model="no-such-model", messages=HI))
    assert missing.code == "model_not_found", missing.code
    bad = raised(openai.BadRequestError, lambda: chats.create(model=MODEL, messages=HI, temperature=-5))
    assert bad.param == "temperature", bad.param


main()
