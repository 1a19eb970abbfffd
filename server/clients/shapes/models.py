"""Requests that every client may begin with: a sign of life and the list of models."""

from __future__ import annotations

from server.clients.shapes.shape import Server, Shape, at, expect_ok, need


def _head(server: Server) -> str:
    reply = server.connection.ask("HEAD", "/")
    need(reply.status < 500, f"HEAD / answers {reply.status}", "see the server's log")
    return f"HEAD / answers {reply.status}"


def _list(server: Server) -> str:
    reply = expect_ok(server.connection.ask("GET", "/v1/models?limit=1000"), "GET /v1/models")
    names = [at(one, "id") for one in at(reply.document, "data") or []]
    need(names, "GET /v1/models lists no model", "start the server with a model: corral serve REF")
    return f"{len(names)} models are listed" if len(names) > 1 else "1 model is listed"


SIGN_OF_LIFE = Shape("a sign of life", _head)
LISTING = Shape("the list of models", _list)
