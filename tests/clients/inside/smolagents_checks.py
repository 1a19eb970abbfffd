"""smolagents: its agent with a tool, and a plain stream."""

from __future__ import annotations

import smolagents
from checking import KEY, MODEL, URL, check, main

model = smolagents.OpenAIModel(model_id=MODEL, api_base=f"{URL}/v1", api_key=KEY, max_tokens=200)


def weather(city: str) -> str:
    """Weather of a city.

    Args:
        city: The city.
    """
    return f"rain in {city}"


@check
def tool_calling_agent():
    tools = [smolagents.tool(weather)]
    agent = smolagents.ToolCallingAgent(tools=tools, model=model, max_steps=2, verbosity_level=0)
    assert agent.run("Weather in Rome?") is not None


@check
def stream():
    asked = smolagents.ChatMessage(role="user", content=[{"type": "text", "text": "hi"}])
    assert list(model.generate_stream([asked]))


main()
