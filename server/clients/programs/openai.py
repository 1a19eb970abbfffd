"""The openai libraries, and every program that takes their variables."""

from __future__ import annotations

from server.clients.client import Client, Setup, Target
from server.clients.shapes import chat, models, responses


def set_up(target: Target) -> Setup:
    """Return the variables that the libraries read."""
    return Setup(
        environment={"OPENAI_BASE_URL": target.v1},
        key_variables=("OPENAI_API_KEY",),
        notes=f"model: {target.model}, with {target.context:,} tokens of context",
    )


CLIENT = Client(
    title="the openai libraries",
    program=None,
    install="pip install openai, or npm install openai",
    least_context=1024,
    context_reason="less is too little for a short conversation",
    set_up=set_up,
    shapes=(
        models.LISTING,
        chat.PARTS,
        chat.ENDING,
        chat.FORCED_CALL,
        chat.WHOLE_CALL,
        chat.HISTORY,
        chat.SCHEMA,
        responses.STREAM,
        responses.FORCED_CALL,
    ),
)
