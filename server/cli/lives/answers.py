"""`manage`: a question to a running server's administration, and its answer or its refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from models.errors import CorralError
from models.store.short_names import full_name
from server.clients.connection import Connection


def model_path(reference: str, action: str) -> str:
    """Return the path of an action on a model."""
    return f"/admin/models/{quote(reference, safe='/:@')}/{action}"


def listed_name(connection: Connection, reference: str) -> str:
    """Return the whole name of the server's model that a short one means.

    Raises InvalidReference for a short name of several, and what `manage` raises.
    """
    if "/" in reference:
        return reference
    models = manage(connection, "GET", "/admin/models")["data"]
    names = [str(model["id"]) for model in models]
    return reference if reference in names else full_name(reference, names)


def manage(
    connection: Connection, method: str, path: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the server's answer. Raises CorralError with its words where it refuses."""
    reply = connection.ask(method, path, body)
    document = reply.document
    if reply.status < 400 and isinstance(document, dict):
        return document
    if reply.status in (401, 403):
        raise CorralError(
            f"the server at {connection.url} wants a key that may do this (status {reply.status}); set"
            " CORRAL_API_KEY to it, or give --api-key"
        )
    said = document.get("error") if isinstance(document, dict) else None
    if isinstance(said, dict) and isinstance(said.get("message"), str):
        raise CorralError(said["message"])
    raise CorralError(
        f"what answers at {connection.url} doesn't know {path} (status {reply.status}); check --url"
    )
