"""A JSON schema in the prompt: in the form that a template shows, or in the system text. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

SchemaForm = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns the variables in which a template gets a schema."""


def schema_text(schema: dict[str, Any]) -> str:
    """Return a schema as JSON text, as prompts show it."""
    return json.dumps(schema, ensure_ascii=False)


_FORMS: tuple[SchemaForm, ...] = (
    lambda schema: {"response_schema": schema},
    lambda schema: {"response_format": schema},
    lambda schema: {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
    lambda schema: {"response_format": schema_text(schema)},
    lambda schema: {"response_format": {"type": "json_object", "schema": schema_text(schema)}},
)
# Kimi K3, DeepSeek V4, OpenAI's own form, Solar, Cohere's newer ones.

_NAMES = ("response_schema", "response_format")
_PROBE = {"type": "object", "properties": {"answer_of_the_probe": {"type": "integer"}}}


def learned_schema_form(shown: Callable[[dict[str, Any]], str], source: str) -> SchemaForm | None:
    """Return the form in which a template prints a schema as JSON; None if it prints none.

    `shown` renders a chat with variables; `source` is the template's text.
    """
    if not any(name in source for name in _NAMES):
        return None
    printed = (schema_text(_PROBE), json.dumps(_PROBE, separators=(",", ":")))
    return next((form for form in _FORMS if any(text in shown(form(_PROBE)) for text in printed)), None)


def schema_sentence(schema: str) -> str:
    """Return the words that tell a model the schema, which is JSON text."""
    return f"Answer with JSON that matches this JSON schema, and nothing else:\n{schema}"
