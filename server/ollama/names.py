"""Models' names as Ollama's clients have them: `demo:latest`, `hf.co/org/name:Q4_K_M`. Pure."""

from __future__ import annotations

HUBS = ("hf.co/", "huggingface.co/")
"""Ollama's clients name a model of the Hub so."""
_LATEST = ":latest"


def plain_name(name: str) -> str:
    """Return the name that the model has here: without the Hub's, and without the tag for any type."""
    for hub in HUBS:
        if name.lower().startswith(hub):
            name = name[len(hub) :]
    return name[: -len(_LATEST)] if name.lower().endswith(_LATEST) else name


def tagged_name(name: str, type_: str | None) -> str:
    """Return the name of a file for Ollama's clients, which want a tag in each."""
    return f"{name}:{type_}" if type_ else f"{name}{_LATEST}"
