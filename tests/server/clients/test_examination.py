"""`corral doctor --client` against the real application: all is well, and each thing that can be missing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.doctor.check import Check, Status
from models.errors import ContextLengthExceeded
from server.clients.connection import Connection
from server.clients.examination import examine
from server.clients.registry import clients
from server.engine.events import AnswerForm
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from tests.server.http_client import app_for, serving
from tests.server.scripted_answers import HERMES, answers, call
from tests.server.scripted_service import DEMO, ScriptedService, Step

CONTEXT = 32_768
STATUS = replace(DEMO, n_ctx=CONTEXT)


def obedient(request: Generate) -> Sequence[Step]:
    """Call a tool where one must be called, follow a schema where there is one, refuse what is too long."""
    assert isinstance(request.prompt, ChatPrompt)
    chat = request.prompt
    text = json.dumps(chat.messages)
    if len(text) > 3 * CONTEXT:
        return [ContextLengthExceeded(f"This model's maximum context length is {CONTEXT} tokens. However, …")]
    must_call = chat.tool_choice.mode not in ("auto", "none")
    if must_call:
        [tool] = chat.tools or []
        values = {name: schema["enum"][0] for name, schema in tool.parameters["properties"].items()}
        return answers(call(tool.name, values), HERMES)(request)
    says = json.dumps({"done": True}) if request.constraint is not None else "Hello"
    form = HERMES if chat.tools else AnswerForm()
    return answers(says, form, reason="stop")(request)


class Broken:
    """The application with its bytes changed on the way to the client: a server that lacks something."""

    def __init__(self, app: ASGIApp, old: str, new: str) -> None:
        self._app = app
        self._old = old.encode()
        self._new = new.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts: list[bytes] = []

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [pair for pair in message["headers"] if pair[0] != b"content-length"]
                await send({**message, "headers": headers})
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                body = re.sub(self._old, self._new, b"".join(parts))
                await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, changed)


async def checks_of(
    name: str, app: ASGIApp, key: str | None = None, model: str | None = None, only: str | None = None
) -> list[Check]:
    client = clients()[name]
    shapes = tuple(shape for shape in client.shapes if only in (None, shape.name))
    client = dataclasses.replace(client, shapes=shapes)
    async with serving(app) as url:  # type: ignore[arg-type]
        connection = Connection(url, key, timeout_s=30)
        return await asyncio.to_thread(lambda: list(examine(client, connection, model)))


def service() -> ScriptedService:
    return ScriptedService(obedient, [STATUS])


@pytest.mark.parametrize("name", clients())
async def test_nothing_is_missing(name: str) -> None:
    checks = await checks_of(name, app_for(service()))
    missing = [check for check in checks if check.status is not Status.OK and check.name not in UNSCRIPTED]
    assert missing == []
    assert len(checks) == 2 + len(clients()[name].shapes)


UNSCRIPTED = {"counted tokens"}
"""A script doesn't count a prompt; tests/e2e holds these on the real chain."""


def failures(checks: Sequence[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks if check.status is Status.FAIL}


@pytest.mark.parametrize(
    ("name", "old", "new", "check", "fact"),
    [
        (
            "opencode",
            r'"finish_reason":"\w+"',
            '"finish_reason":null',
            "the end of a stream",
            "0 finish_reason",
        ),
        ("opencode", r'"id":"call_\w+",', "", "a tool call, streamed", "no id"),
        ("opencode", r'"total_tokens":', '"sum":', "the end of a stream", "no usage"),
        ("opencode", r"data: \[DONE\]", ": the end", "the end of a stream", "[DONE]"),
        ("opencode", r"maximum context length", "limit", "a prompt that is too long", "doesn't know"),
        ("opencode", r'"name":"read"', '"name":"write"', "a tool call, streamed", "isn't the tool"),
        ("claude", r'"id":"msg_\w+"', '"id":"msg_1"', "ids of answers", "same id"),
        ("claude", r"event: \w+\n", "", "a stream's events", "`event:`"),
        ("claude", r"content_block_stop", "content_block_end", "a stream's events", "content blocks begin"),
        ("claude", r'"id":"toolu_\w+",', "", "a tool call", "no id"),
        ("claude", r"prompt is too long", "no room", "a prompt that is too long", "doesn't know"),
        ("claude", r"not_found_error", "error", "an unknown model", "Anthropic's form"),
        ("codex", r"response\.completed", "response.done", "the end of a stream", "response.completed"),
        ("codex", r'"total_tokens":', '"sum":', "the end of a stream", "no total_tokens"),
        ("codex", r'"call_id":"\w+",?', "", "a tool call", "call_id"),
        ("codex", r"context_length_exceeded", "too_long", "a prompt that is too long", "code"),
    ],
)
async def test_what_is_missing_is_named(name: str, old: str, new: str, check: str, fact: str) -> None:
    found = failures(await checks_of(name, Broken(app_for(service()), old, new), only=check))
    assert check in found, found
    assert fact in found[check].fact
    assert found[check].fix


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as an older server: it lists its models and has no other route."""
    is_listing = scope["path"] == "/v1/models"
    body = (
        {"data": [{"id": "demo", "context_length": CONTEXT}]}
        if is_listing
        else {"error": {"message": "no route"}}
    )
    status = 200 if is_listing else 404
    head = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


@pytest.mark.parametrize(
    ("name", "route"),
    [("claude", "POST /v1/messages"), ("codex", "POST /v1/responses"), ("pi", "POST /v1/chat/")],
)
async def test_an_older_server_is_told_route_by_route(name: str, route: str) -> None:
    found = failures(await checks_of(name, refuse))
    assert f"this server has no {route}" in (found["a turn after a call"].fix or "")
    if name == "codex":
        assert "instead of 426" in found["a WebSocket"].fact


async def test_a_key_is_asked_for_and_taken() -> None:
    [check] = await checks_of("openai", app_for(service(), api_keys=["sekret-1"]))
    assert check.status is Status.FAIL
    assert "--api-key" in (check.fix or "")
    assert "wants a key" in check.fact
    assert not failures(await checks_of("openai", app_for(service(), api_keys=["sekret-1"]), "sekret-1"))


async def test_an_unknown_model_ends_the_examination() -> None:
    [check] = await checks_of("openai", app_for(service()), model="nobody")
    assert check.status is Status.FAIL
    assert "it has demo" in check.fact + (check.fix or "")


@pytest.mark.parametrize(
    ("name", "context", "status"),
    [
        ("claude", 24_576, Status.OK),
        ("claude", 8192, Status.WARNING),
        ("claude", 2048, Status.FAIL),
        ("codex", 16_383, Status.FAIL),
    ],
)
async def test_the_context_is_checked(name: str, context: int, status: Status) -> None:
    checks = await checks_of(
        name, app_for(ScriptedService(obedient, [replace(DEMO, n_ctx=context)])), only=""
    )
    check = next(check for check in checks if check.name == "context")
    assert check.status is status
    if status is not Status.OK:
        assert f"--ctx {clients()[name].least_context}" in (check.fix or "")


def test_no_server_is_told_with_the_command_to_start_one() -> None:
    [check] = examine(clients()["pi"], Connection("http://127.0.0.1:9"))
    assert check.status is Status.FAIL
    assert "corral serve" in (check.fix or "")
