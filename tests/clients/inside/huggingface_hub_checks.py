"""huggingface_hub's InferenceClient, which rewrites schemas into a form of its own."""

from __future__ import annotations

import json

from checking import CITY, HI, KEY, MODEL, URL, check, main
from huggingface_hub import InferenceClient
from pydantic import BaseModel

client = InferenceClient(base_url=f"{URL}/v1", api_key=KEY)


class City(BaseModel):
    name: str
    inhabitants: int


@check
def chat():
    assert client.chat_completion(HI, model=MODEL, max_tokens=64).choices[0].message.content


@check
def stream():
    assert list(client.chat_completion(HI, model=MODEL, max_tokens=64, stream=True))


@check
def tools():
    tool = {
        "type": "function",
        "function": {"name": "weather", "description": "Weather.", "parameters": CITY},
    }
    done = client.chat_completion(HI, model=MODEL, tools=[tool], tool_choice="required", max_tokens=200)
    (call,) = done.choices[0].message.tool_calls
    assert isinstance(json.loads(call.function.arguments)["city"], str)


@check
def schema():
    named = {"name": "City", "schema": City.model_json_schema(), "strict": True}
    form = {"type": "json_schema", "json_schema": named}
    done = client.chat_completion(HI, model=MODEL, response_format=form, max_tokens=200)
    City.model_validate_json(done.choices[0].message.content)


main()
