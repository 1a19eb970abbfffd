"""`answer_hosted`: a request of `/invocations` as one of another route, or several, and their answers.

Its body is read twice: here for its shape, then by the handler that answers it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NoReturn

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from models.errors import CorralError, RequestError
from server.engine.events import Usage
from server.hosting.attributes import HEADER, NO_ATTRIBUTES, Attributes, attributes_of
from server.hosting.read import HostedRead
from server.hosting.shapes import Shape
from server.http import request_body
from server.http.access_log import part_of, record_of
from server.http.api_keys import scope_refusal
from server.http.dependencies import Api
from server.http.disconnect import end, while_connected
from server.http.error_response import error_response
from server.http.generate import answer
from server.http.inference_protocol import answer_texts
from server.http.pieces import JsonPieces
from server.http.pool import answer_pooled
from server.http.respond import respond
from server.keys.caller import KeyScope
from server.openai import errors
from server.openai.response import MAX_ANSWER_BYTES

AT_ONCE = 16
"""So many instances of a request are answered side by side, so that one client leaves room for others."""
_SCOPES: Final[Mapping[Shape, KeyScope]] = MappingProxyType(
    {
        "chat": "infer",
        "text": "infer",
        "generate_text": "infer",
        "response": "infer",
        "embeddings": "embed",
        "rerank": "embed",
        "score": "embed",
    }
)
"""The right that each shape asks of a key: that of its route."""


async def answer_hosted(api: Api, request: Request) -> Response:
    """Answer a body by its shape, or the instances in it. Raises what the shapes' own routes raise."""
    parts = await request_body.body_parts(request, api.config.body_limit_bytes)
    read = await api.read_hosted(request, list(parts), _attributes(api, request))
    for shape in dict.fromkeys(read.shapes):
        if (refusal := scope_refusal(request.scope, _SCOPES[shape])) is not None:
            return refusal
    if read.instances is not None:
        return await while_connected(request.receive, _predictions(api, request, read, read.instances))
    again = _with_body(request.scope, _opened(parts, read.opening), request.receive)
    return await _answer(api, again, read.shapes[0])


def _attributes(api: Api, request: Request) -> Attributes:
    """Return those of the header. Where it names an adapter alone, it is the default model's."""
    header = request.headers.get(HEADER)
    attributes = NO_ATTRIBUTES if header is None else attributes_of(header)
    if attributes.adapter and not attributes.model:
        attributes = msgspec.structs.replace(attributes, model=api.default_model(request))
    return attributes


async def _answer(api: Api, request: Request, shape: Shape) -> Response:
    match shape:
        case "chat" | "text":
            return await answer(api, request, shape)
        case "generate_text":
            return await answer_texts(api, request, "generate_text")
        case "response":
            return await respond(api, request)
        case "embeddings" | "rerank" | "score":
            return await answer_pooled(api, request, shape)


async def _predictions(api: Api, request: Request, read: HostedRead, bodies: list[bytes]) -> Response:
    """Return the answers of all instances, or the first error with the index of its instance."""
    slots = asyncio.Semaphore(AT_ONCE)
    tasks = [
        asyncio.create_task(_prediction(api, request.scope, body, shape, slots))
        for body, shape in zip(bodies, read.shapes, strict=True)
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((index for index, task in enumerate(tasks) if task in done and task.exception()), None)
        if failed is not None:
            return _failure(failed, tasks[failed].exception())
        answers = [task.result() for task in tasks]
    finally:
        await end(*tasks)
    usages = [usage for _, usage in answers if usage is not None]
    record_of(request.scope).usage = _sum(usages)
    if sum(len(body) for body, _ in answers) > MAX_ANSWER_BYTES:
        raise RequestError(
            f"the predictions have more than {MAX_ANSWER_BYTES:,} bytes; send fewer instances at once",
            code="answer_too_large",
        )
    pieces = [piece for body, _ in answers for piece in (b",", body)]
    return await JsonPieces.of([b'{"predictions":[', *pieces[1:], b"]}"])


async def _prediction(
    api: Api, scope: Scope, body: bytes, shape: Shape, slots: asyncio.Semaphore
) -> tuple[bytes, Usage | None]:
    """Return the JSON of an instance's answer, and its usage."""
    async with slots:
        part, record = part_of(scope)
        response = await _answer(api, _with_body(part, [body], _stays), shape)
        sent: list[bytes] = []

        async def send(message: Message) -> None:
            sent.append(message.get("body", b""))

        await response(part, _stays, send)
        return b"".join(sent), record.usage


def _failure(index: int, error: BaseException | None) -> Response:
    if not isinstance(error, CorralError):
        assert error is not None
        raise error
    failure = errors.from_error(error)
    where = f"instances[{index}]"
    param = failure.body.param
    body = msgspec.structs.replace(
        failure.body,
        message=f"{where}: {failure.body.message}",
        param=where if param is None else f"{where}.{param}",
    )
    return error_response(msgspec.structs.replace(failure, body=body))


def _sum(usages: list[Usage]) -> Usage | None:
    if not usages:
        return None
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
    )


def _opened(parts: list[bytes], opening: bytes) -> list[bytes]:
    """Return a body with `opening` after its first brace."""
    for index, part in enumerate(parts if opening else []):
        before, brace, after = part.partition(b"{")
        if brace:
            return [*parts[:index], before + brace + opening, after, *parts[index + 1 :]]
    return parts


def _with_body(scope: Scope, parts: list[bytes], receive: Receive) -> Request:
    """Return a request that brings `parts`, and then what `receive` does."""
    left = list(parts)

    async def receive_again() -> Message:
        if not left:
            return await receive()
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    return Request(scope, receive_again)


async def _stays() -> NoReturn:
    """A part of a request has no client of its own who could go."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets this event")
