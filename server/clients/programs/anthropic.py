"""The anthropic libraries, and every program that takes their variables."""

from __future__ import annotations

from server.clients.client import Client, Setup, Target
from server.clients.shapes import messages, models


def set_up(target: Target) -> Setup:
    """Return the variables that the libraries read."""
    return Setup(
        environment={"ANTHROPIC_BASE_URL": target.url},
        key_variables=("ANTHROPIC_AUTH_TOKEN",),
        notes=f"model: {target.model}, with {target.context:,} tokens of context",
    )


CLIENT = Client(
    title="the anthropic libraries",
    program=None,
    install="pip install anthropic, or npm install @anthropic-ai/sdk",
    least_context=1024,
    context_reason="less is too little for a short conversation",
    set_up=set_up,
    shapes=(
        models.LISTING,
        messages.STREAM,
        messages.IDS,
        messages.WHOLE,
        messages.FORCED_CALL,
        messages.COUNT,
        messages.UNKNOWN_MODEL,
    ),
)
