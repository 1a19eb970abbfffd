"""`Shape`: one thing that a client sends and needs answered; `Missing` says what a server lacks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.clients.connection import Connection, Reply

FEW_TOKENS = 16
"""Answers that are read to their end have at most this many tokens: a model may be slow."""

CALL_TOKENS = 256
"""A forced call has at most this many tokens; one of the tools here needs some forty."""

FIRST_EVENTS = 2
"""A stream whose end isn't asked about is left after so many events, which ends it."""


class Missing(Exception):
    """Something that the client needs and the server doesn't do: the fact, and the fix."""

    def __init__(self, fact: str, fix: str) -> None:
        super().__init__(fact)
        self.fact = fact
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Server:
    """A server under examination: the way to it, the model asked for, and its context if that is told."""

    connection: Connection
    model: str
    context: int | None


@dataclass(frozen=True, slots=True)
class Shape:
    """A request shape. `probe` sends it and returns the finding, or raises Missing."""

    name: str
    probe: Callable[[Server], str]


STILL_THINKS = f"taken; after {CALL_TOKENS} tokens the model still thinks"
"""The finding where an answer ends before the model has done with its thoughts."""

UPDATE = "update Corral: this version's protocol is older than the client"
"""The fix for an answer that an up-to-date server gives otherwise."""


def expect_ok(reply: Reply, route: str) -> Reply:
    """Return the reply if its status is 200. Raises Missing, with the fix that the status suggests."""
    if reply.status == 200:
        return reply
    said = error_message(reply)
    fact = f"{route} answers {reply.status}: {said}"
    match reply.status:
        case 401 | 403:
            raise Missing(fact, "set CORRAL_API_KEY to the server's key, or give --api-key")
        case 404 | 405 if "does not exist" not in said:
            raise Missing(fact, f"update Corral: this server has no {route}")
        case 404:
            raise Missing(fact, "name a model that GET /v1/models lists with --model")
        case 400 if "context" in said or "too long" in said:
            raise Missing(fact, "start the server with a larger --ctx")
        case 429 | 503:
            raise Missing(fact, "wait until the model is loaded and others are done, then try again")
        case 400:
            raise Missing(fact, "update Corral: this version refuses what the client sends")
        case _:
            raise Missing(fact, "see the server's log")


def expect_stream(reply: Reply, route: str) -> Reply:
    """Return the reply if it is a stream with events. Raises Missing."""
    expect_ok(reply, route)
    if not reply.is_stream or not reply.events:
        kind = reply.headers.get("content-type", "no content type")
        raise Missing(f"{route} with stream: true answers {kind} instead of text/event-stream", UPDATE)
    return reply


def error_message(reply: Reply) -> str:
    """Return the message of an error in OpenAI's or Anthropic's form, or the beginning of the body."""
    document = reply.document
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return reply.body[:200].decode("utf-8", "replace") or "no body"


def need(condition: object, fact: str, fix: str = UPDATE) -> None:
    """Raise Missing with the fact unless the condition holds."""
    if not condition:
        raise Missing(fact, fix)


def at(value: Any, *path: str | int) -> Any:
    """Return what lies at a path in a document, None if there is nothing."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def long_text(n_words: int) -> str:
    """Return a text of at least so many tokens: no vocabulary has a token for two of these numbers."""
    return " ".join(f"{index * 7919 % 1_000_003}" for index in range(n_words))


LONGEST_TRIAL = 262_144
"""A prompt that is too long is tried only for contexts of at most this many tokens."""


def overlong_prompt(server: Server) -> str | None:
    """Return a text that is longer than the context, None where that isn't known or is too much to send."""
    if server.context is None or server.context > LONGEST_TRIAL:
        return None
    return long_text(server.context + 1)
