"""pydantic-ai: agents with a tool and with structured results, over all three protocols."""

from __future__ import annotations

from checking import KEY, MODEL, URL, check, main
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

_OPENAI = OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY)
MODELS = {
    "chat": OpenAIChatModel(MODEL, provider=_OPENAI),
    "responses": OpenAIResponsesModel(MODEL, provider=_OPENAI),
    "messages": AnthropicModel(MODEL, provider=AnthropicProvider(api_key=KEY, base_url=URL)),
}


class City(BaseModel):
    name: str
    inhabitants: int


async def tool_loop(model):
    agent, seen = Agent(model, instructions="Use the tool."), []

    @agent.tool_plain
    def weather(city: str) -> str:
        """Weather of a city."""
        seen.append(city)
        return "rain"

    result = await agent.run("What is the weather in Rome?")
    assert seen
    assert isinstance(result.output, str)
    assert result.usage.requests == 2, result.usage.requests


async def stream(model):
    async with Agent(model).run_stream("Say hi.") as result:
        assert "".join([piece async for piece in result.stream_text(delta=True)])


async def typed(model, kind):
    assert isinstance((await Agent(model, output_type=kind(City)).run("Rome")).output, City)


def add(name, run):
    run.__name__ = name
    check(run)


for protocol, model in MODELS.items():
    add(f"{protocol}_tool_loop", lambda model=model: tool_loop(model))
    add(f"{protocol}_stream", lambda model=model: stream(model))
    add(f"{protocol}_tool_output", lambda model=model: typed(model, ToolOutput))
    if protocol != "messages":
        add(f"{protocol}_native_output", lambda model=model: typed(model, NativeOutput))
add("chat_prompted_output", lambda: typed(MODELS["chat"], PromptedOutput))

main()
