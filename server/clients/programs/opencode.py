"""opencode: chat completions, set up by a variable that holds its configuration."""

from __future__ import annotations

from server.clients.client import KEY_VARIABLE, NO_KEY, Client, Document, Setup, Target, answer_part
from server.clients.shapes import chat, models


def set_up(target: Target) -> Setup:
    """Return its settings: a provider with all models of the server. It replaces `{env:…}` by itself."""
    limits = {name: {"context": n, "output": answer_part(n)} for name, n in target.contexts.items()}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Corral",
        "options": {
            "baseURL": target.v1,
            "apiKey": f"{{env:{KEY_VARIABLE}}}" if target.needs_key else NO_KEY,
        },
        "models": {name: {"name": name, "tool_call": True, "limit": limits[name]} for name in limits},
    }
    content = {
        "$schema": "https://opencode.ai/config.json",
        "model": f"corral/{target.model}",
        "small_model": f"corral/{target.model}",
        "autoupdate": False,
        "share": "disabled",
        "provider": {"corral": provider},
    }
    document = Document(
        "~/.config/opencode/opencode.json", "json", content, content_variable="OPENCODE_CONFIG_CONTENT"
    )
    return Setup(
        environment={"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"},
        key_variables=(KEY_VARIABLE,) if target.needs_key else (),
        documents=(document,),
    )


CLIENT = Client(
    title="opencode",
    program="opencode",
    install="npm install -g opencode-ai@1.18.33",
    least_context=16_384,
    context_reason="its first prompt alone has about 7,700",
    set_up=set_up,
    shapes=(
        models.LISTING,
        chat.TURN,
        chat.ENDING,
        chat.FORCED_CALL,
        chat.HISTORY,
        chat.BESIDE,
        chat.TOO_LONG,
    ),
)
