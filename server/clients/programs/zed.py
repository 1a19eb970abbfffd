"""Zed: chat completions. Its settings have one place, so the user's file is changed, with a backup."""

from __future__ import annotations

from typing import Any

from server.clients.client import Client, Document, Setup, Target, answer_part
from server.clients.shapes import chat, models

PROVIDER = "corral-local"
"""It takes the key from a variable of this name; CORRAL_API_KEY would be a setting of servers, too."""


def set_up(target: Target) -> Setup:
    """Return its settings: a provider with all models of the server, and the chosen one for its agent."""
    listed: list[dict[str, Any]] = [
        {
            "name": name,
            "display_name": name,
            "max_tokens": context,
            "max_output_tokens": answer_part(context),
            "capabilities": {
                "tools": True,
                "images": False,
                "parallel_tool_calls": True,
                "prompt_cache_key": False,
            },
        }
        for name, context in target.contexts.items()
    ]
    provider = {"api_url": target.v1, "available_models": listed}
    content = {
        "language_models": {"openai_compatible": {PROVIDER: provider}},
        "agent": {"default_model": {"provider": PROVIDER, "model": target.model}},
    }
    return Setup(
        key_variables=("CORRAL_LOCAL_API_KEY",),
        documents=(Document("~/.config/zed/settings.json", "json", content),),
    )


CLIENT = Client(
    title="Zed",
    program="zed",
    install="https://zed.dev/download",
    least_context=16_384,
    context_reason="its agent's first prompt takes about half of that",
    set_up=set_up,
    shapes=(models.LISTING, chat.TURN, chat.ENDING, chat.FORCED_CALL, chat.HISTORY, chat.TOO_LONG),
)
