"""The examination of a server for a client: each thing that the client needs, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator

from models.doctor.check import Check, fail, ok, warning
from models.errors import CorralError
from server.clients.client import Client, ServedModel
from server.clients.connection import Connection
from server.clients.running_server import choose, served_models
from server.clients.shapes.shape import Missing, Server, Shape


def examine(client: Client, connection: Connection, model: str | None = None) -> Iterator[Check]:
    """Yield a check for each thing that the client needs, as soon as it is done.

    The first ones are the server, its model and the context; without a server there are no others.
    """
    try:
        chosen = choose(served_models(connection), model, connection.url)
    except CorralError as error:
        yield fail("server", *_split(error.message))
        return
    yield ok("server", f"{connection.url} serves {chosen.name}")
    yield _context(client, chosen)
    server = Server(connection, chosen.name, chosen.context)
    for shape in client.shapes:
        yield _check(shape, server)


def _context(client: Client, model: ServedModel) -> Check:
    needed = client.least_context
    if model.context is None:
        return warning(
            "context",
            f"the server doesn't tell the context of {model.name}; {client.title} needs {needed:,} tokens",
            "make sure of it on the server",
        )
    if model.context >= needed:
        return ok("context", f"{model.context:,} tokens; {client.title} needs {needed:,}")
    fact = f"{model.context:,} tokens, and {client.title} needs {needed:,} ({client.context_reason})"
    fix = f"start the server with --ctx {needed}"
    if client.lighter is not None and model.context >= client.lighter.least_context:
        return warning("context", fact, f"{fix}, or start the client with {client.lighter.argument}")
    return fail("context", fact, fix)


def _check(shape: Shape, server: Server) -> Check:
    try:
        return ok(shape.name, shape.probe(server))
    except Missing as missing:
        return fail(shape.name, missing.fact, missing.fix)
    except CorralError as error:
        return fail(shape.name, *_split(error.message))


def _split(message: str) -> tuple[str, str]:
    """Return an error's fact and its fix, which stand apart in a check."""
    fact, _, fix = message.rpartition("; ")
    return (fact, fix) if fact else (message, "see the server's log")
