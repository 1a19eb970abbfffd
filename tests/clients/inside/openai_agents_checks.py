"""openai-agents: an agent with a tool and one with a typed result, over chat and Responses."""

from __future__ import annotations

import agents
import openai
from checking import KEY, MODEL, URL, check, main
from pydantic import BaseModel

agents.set_tracing_disabled(True)


class City(BaseModel):
    name: str
    inhabitants: int


def client():
    """Return a client for one check: it belongs to its event loop."""
    return openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)


def weather(city: str) -> str:
    """Weather of a city."""
    return f"rain in {city}"


async def tool_loop(model):
    agent = agents.Agent(
        name="a", instructions="Use the tool.", model=model, tools=[agents.function_tool(weather)]
    )
    assert (await agents.Runner.run(agent, "Weather in Rome?")).final_output


@check
async def responses():
    await tool_loop(agents.OpenAIResponsesModel(MODEL, client()))


@check
async def chat():
    await tool_loop(agents.OpenAIChatCompletionsModel(MODEL, client()))


@check
async def chat_typed():
    agent = agents.Agent(name="a", model=agents.OpenAIChatCompletionsModel(MODEL, client()), output_type=City)
    assert isinstance((await agents.Runner.run(agent, "Rome")).final_output, City)


@check
async def responses_streamed():
    agent = agents.Agent(name="a", model=agents.OpenAIResponsesModel(MODEL, client()))
    made = agents.Runner.run_streamed(agent, "hi")
    assert [event async for event in made.stream_events()]


main()
