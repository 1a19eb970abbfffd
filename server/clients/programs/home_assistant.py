"""Home Assistant: chat completions, set up in its own pages."""

from __future__ import annotations

from server.clients.client import Client, Setup, Target
from server.clients.shapes import chat, models


def set_up(target: Target) -> Setup:
    """Return the steps in its pages."""
    key = "the server's key" if target.needs_key else "none"
    return Setup(
        notes=(
            "In Home Assistant: Settings, Devices & services, Add integration, llama.cpp\n"
            f"URL: {target.v1}\n"
            f"API key: {key}\n"
            f"model: {target.model}\n"
            "Home Assistant on another machine needs the server to listen there: corral serve --host 0.0.0.0"
        )
    )


CLIENT = Client(
    title="Home Assistant",
    program=None,
    install="the integration llama.cpp, in Home Assistant 2026.11 and later",
    least_context=8192,
    context_reason="the tools for the devices of a home take most of that",
    set_up=set_up,
    shapes=(
        models.LISTING,
        chat.HOME_ASSISTANT,
        chat.ENDING,
        chat.FORCED_CALL,
        chat.HISTORY,
        chat.SCHEMA,
    ),
)
