"""aider: chat completions without tools, set up by its environment."""

from __future__ import annotations

from server.clients.client import Client, Document, Setup, Target
from server.clients.shapes import chat, models


def set_up(target: Target) -> Setup:
    """Return its settings; it learns a model's context from a file of metadata."""
    name = f"openai/{target.model}"
    metadata = {
        "max_tokens": target.max_output,
        "max_input_tokens": target.context,
        "max_output_tokens": target.max_output,
        "input_cost_per_token": 0,
        "output_cost_per_token": 0,
        "litellm_provider": "openai",
        "mode": "chat",
    }
    return Setup(
        environment={
            "OPENAI_API_BASE": target.v1,
            "AIDER_MODEL": name,
            "AIDER_WEAK_MODEL": name,
            "AIDER_EDIT_FORMAT": "diff",
            "AIDER_CHECK_UPDATE": "false",
            "AIDER_ANALYTICS": "false",
            "AIDER_SHOW_MODEL_WARNINGS": "false",
            "AIDER_SHOW_RELEASE_NOTES": "false",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        key_variables=("OPENAI_API_KEY",),
        documents=(
            Document(
                "~/.aider.model.metadata.json",
                "json",
                {name: metadata},
                path_variable="AIDER_MODEL_METADATA_FILE",
            ),
        ),
    )


CLIENT = Client(
    title="aider",
    program="aider",
    install="pipx install aider-chat==0.86.2",
    least_context=4096,
    context_reason="its first prompt alone has about 2,700",
    set_up=set_up,
    shapes=(models.LISTING, chat.PLAIN, chat.ENDING, chat.TOO_LONG),
)
