"""Codex: OpenAI's Responses, set up by a config.toml in a folder of its own."""

from __future__ import annotations

from server.clients.client import KEY_VARIABLE, Client, Document, Setup, Target
from server.clients.shapes import models, responses


def set_up(target: Target) -> Setup:
    """Return its settings: a provider of its own, and without what calls other servers or fills the prompt.

    A variable that it is told to take the key from must be set, so it is told of none without a key.
    """
    provider = {
        "name": "Corral",
        "base_url": target.v1,
        "wire_api": "responses",
        "env_key": KEY_VARIABLE if target.needs_key else None,
        "request_max_retries": 2,
        "stream_max_retries": 2,
    }
    content = {
        "model": target.model,
        "model_provider": "corral",
        "model_context_window": target.context,
        "web_search": "disabled",
        "check_for_update_on_startup": False,
        "model_providers": {"corral": provider},
        "features": {"plugins": False, "apps": False, "goals": False},
        "agents": {"enabled": False},
        "analytics": {"enabled": False},
    }
    return Setup(
        key_variables=(KEY_VARIABLE,) if target.needs_key else (),
        folder_variable="CODEX_HOME",
        documents=(Document("~/.codex/config.toml", "toml", content),),
    )


CLIENT = Client(
    title="Codex",
    program="codex",
    install="npm install -g @openai/codex@0.171.0",
    least_context=16_384,
    context_reason="its first prompt has 6,500, and in too little it compacts the conversation for ever",
    set_up=set_up,
    shapes=(models.LISTING, *responses.ALL),
)
