"""`find_target`: the running server, its models and their context, as a client is set up for them."""

from __future__ import annotations

from models.errors import ConfigError, CorralError, ModelNotFound
from models.store.short_names import full_name
from server.clients.client import Client, ServedModel, Target
from server.clients.connection import Connection, Reply

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]", "": "127.0.0.1"}  # noqa: S104 - nothing is bound here
"""A server that listens on all addresses is reached at the one of this machine."""


def local_url(host: str, port: int, *, tls: bool = False) -> str:
    """Return the address of a server with these settings, as a client on this machine calls it."""
    host = LOOPBACK.get(host, host)
    name = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{'https' if tls else 'http'}://{name}:{port}"


def find_target(
    connection: Connection, client: Client, model: str | None = None, context: int | None = None
) -> Target:
    """Ask the server for its models and choose: `model`, or the first that is ready, or the first.

    `context` is what the client shall be told instead of all of the model's. Raises CorralError if nobody
    answers, ModelNotFound if the model isn't there, ConfigError for a longer context than the model has.
    """
    listed = served_models(connection)
    chosen = choose(listed, model, connection.url)
    if context is not None and chosen.context is not None and context > chosen.context:
        raise ConfigError(
            f"--context {context:,} is more than the {chosen.context:,} tokens that {chosen.name} is served"
            f" with; leave it out, or start the server with --ctx {context}"
        )
    told = context or chosen.context or client.least_context
    return Target(connection.url, chosen.name, told, tuple(listed), needs_key=connection.api_key is not None)


def served_models(connection: Connection) -> list[ServedModel]:
    """Return what the server lists, models that are ready first. Raises CorralError."""
    reply = connection.ask("GET", "/v1/models")
    if reply.status in (401, 403):
        raise CorralError(
            f"the server at {connection.url} wants a key (status {reply.status}); set CORRAL_API_KEY to"
            " it, or give --api-key"
        )
    try:
        models = list(reply.document["data"])
        models.sort(key=lambda one: (one.get("status") or {}).get("value") != "ready")
        return [ServedModel(str(one["id"]), _context_of(one)) for one in models]
    except (TypeError, KeyError, AttributeError) as error:
        raise CorralError(
            f"what answers at {connection.url} lists no models ({_says(reply)}); check --url"
        ) from error


def choose(listed: list[ServedModel], model: str | None, url: str) -> ServedModel:
    """Return the model called `model`, with or without a type, also in short, or the first.

    Raises ModelNotFound, and InvalidReference for a short name of several.
    """
    if not listed:
        raise ModelNotFound(f"the server at {url} has no models; start one with a model: corral serve REF")
    if model is None:
        return listed[0]
    whole = full_name(model, [one.name for one in listed])
    for one in listed:
        if one.name == whole or whole.startswith(f"{one.name}:"):
            return ServedModel(whole, one.context)
    names = ", ".join(one.name for one in listed)
    raise ModelNotFound(f"the server at {url} has no model {model}; it has {names}")


def _context_of(model: dict[str, object]) -> int | None:
    """Return the context that a server tells, Corral's way, vLLM's or llama-server's."""
    meta = model.get("meta")
    told = (
        model.get("context_length"),
        model.get("max_model_len"),
        meta.get("n_ctx") if isinstance(meta, dict) else None,
    )
    return next((length for length in told if isinstance(length, int) and length > 0), None)


def _says(reply: Reply) -> str:
    return f"GET /v1/models: status {reply.status}"
