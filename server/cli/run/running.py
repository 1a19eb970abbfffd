"""`running_backend`: the model of a server that runs already, as this machine's settings say where."""

from __future__ import annotations

from urllib.parse import quote

from models.errors import CorralError
from models.reference import ModelRef
from server.cli.chat.remote import RemoteBackend
from server.cli.console import say
from server.clients.connection import Connection
from server.clients.running_server import local_url
from server.config import ServerConfig

TIMEOUT_S = 5.0
"""A server of this machine has this many seconds to say whether it has the model."""


def running_backend(ref: ModelRef, config: ServerConfig) -> RemoteBackend | None:
    """Return the model of the running server; None if none answers, or it isn't a Corral with this model.

    Files and folders aren't looked for: a server's model of their name could be another.
    """
    if ref.path is not None or ref.revision is not None:
        return None
    url = local_url(config.host, config.port)
    key = config.api_keys[0].get_secret_value() if config.api_keys else None
    name = f"{ref.name}:{ref.type}" if ref.type else ref.name
    try:
        reply = Connection(url, key, TIMEOUT_S).ask("GET", f"/v1/models/{quote(name, safe='/:')}")
    except CorralError:
        return None
    if reply.status in (401, 403):
        say(f"the server at {url} wants a key that may do this; without CORRAL_API_KEY, {name} runs here")
    document = reply.document
    if reply.status != 200 or not isinstance(document, dict) or document.get("owned_by") != "corral":
        return None
    say(f"{name} at {url}")
    return RemoteBackend(url, key, name)
