"""instructor: typed answers by a named tool, by a schema, and in parts."""

from __future__ import annotations

import instructor
import openai
from checking import HI, KEY, MODEL, URL, check, main
from pydantic import BaseModel


class City(BaseModel):
    name: str
    inhabitants: int


def typed(mode):
    client = instructor.from_openai(
        openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0), mode=mode
    )
    asked = {"model": MODEL, "messages": HI, "response_model": City, "max_tokens": 200}
    return client.chat.completions, asked


@check
def tools():
    chats, asked = typed(instructor.Mode.TOOLS)
    assert isinstance(chats.create(**asked, max_retries=0), City)


@check
def json_schema():
    chats, asked = typed(instructor.Mode.JSON_SCHEMA)
    assert isinstance(chats.create(**asked, max_retries=0), City)


@check
def partial():
    chats, asked = typed(instructor.Mode.TOOLS)
    assert list(chats.create_partial(**asked))[-1].name


main()
