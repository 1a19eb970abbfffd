"""pi: chat completions, set up by a models.json in a folder of its own."""

from __future__ import annotations

from server.clients.client import KEY_VARIABLE, NO_KEY, Client, Document, Setup, Target, answer_part
from server.clients.shapes import chat, models


def set_up(target: Target) -> Setup:
    """Return its settings: a provider with all models of the server. A key is its variable's name."""
    provider = {
        "baseUrl": target.v1,
        "api": "openai-completions",
        "apiKey": KEY_VARIABLE if target.needs_key else NO_KEY,
        "models": [
            {"id": name, "name": name, "contextWindow": context, "maxTokens": answer_part(context)}
            for name, context in target.contexts.items()
        ],
    }
    return Setup(
        environment={"PI_OFFLINE": "1", "PI_SKIP_VERSION_CHECK": "1", "PI_TELEMETRY": "0"},
        key_variables=(KEY_VARIABLE,) if target.needs_key else (),
        folder_variable="PI_CODING_AGENT_DIR",
        documents=(Document("~/.pi/agent/models.json", "json", {"providers": {"corral": provider}}),),
        arguments=("--provider", "corral", "--model", target.model),
    )


CLIENT = Client(
    title="pi",
    program="pi",
    install="npm install -g @mariozechner/pi-coding-agent@0.73.1",
    least_context=4096,
    context_reason="its first prompt alone has about 1,500",
    set_up=set_up,
    shapes=(models.LISTING, chat.PARTS, chat.ENDING, chat.FORCED_CALL, chat.HISTORY, chat.TOO_LONG),
)
