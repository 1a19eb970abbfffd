"""`/web/chats`: the web page's chats, and the answers that are made in them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from server.answers.read_source import ReadSource
from server.http import request_body
from server.http.api_keys import owner_of
from server.http.dependencies import Api, api_of
from server.openai import sse
from server.openai.heading import new_id as new_answer_id
from server.openai.requests.body_limits import MAX_PROMPT_BYTES, check_structure
from server.openai.requests.reading import GenerationRead
from server.pages import export, requests
from server.pages.records import Content, Message
from server.pages.requests import ChatCreation, ChatUpdate, NewTurn
from server.pages.turns import Turn

router = APIRouter(prefix="/web/chats", include_in_schema=False)

_MOST_WORDS = 20
_SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@router.get("")
async def list_chats(request: Request, query: Annotated[str, Query(max_length=1000)] = "") -> Response:
    """The chats with all words of `query` in them, the newest first; all without one."""
    api, owner = api_of(request), owner_of(request.scope)
    chats = await api.chats.chats(owner, query.split()[:_MOST_WORDS])
    running = api.turns.running_chats(owner)
    return _json({"data": [{**_plain(chat), "running": chat.id in running} for chat in chats]})


@router.post("")
async def create_chat(request: Request) -> Response:
    """Begin a chat, or bring back one that was exported."""
    api, owner = api_of(request), owner_of(request.scope)
    chat, messages = requests.imported(requests.decode(await _body(request), ChatCreation))
    await api.chats.add(owner, chat, messages)
    return _json(_plain(chat))


@router.delete("")
async def delete_chats(request: Request) -> Response:
    """Delete all chats, and stop their answers."""
    api, owner = api_of(request), owner_of(request.scope)
    for chat_id in api.turns.running_chats(owner):
        await _stop(api, owner, chat_id)
    return _json({"deleted": await api.chats.delete_all(owner)})


@router.get("/{chat_id}")
async def retrieve_chat(request: Request, chat_id: str) -> Response:
    """One chat with the messages of all its branches, and where the running answer's events are."""
    api, owner = api_of(request), owner_of(request.scope)
    chat, messages = await api.chats.chat(owner, chat_id)
    turn = api.turns.of_chat(owner, chat_id)
    running = None
    if turn is not None:
        running = {"message": turn.id, "n_events": turn.answer.n_events}
        now = turn.answer.fill()
        messages = [now if message.id == now.id else message for message in messages]
    for message in messages:
        if message.state == "running" and (turn is None or message.id != turn.id):
            message.state = "interrupted"  # by the end of the server that made it
    return _json({**_plain(chat), "running": running, "messages": messages})


@router.post("/{chat_id}")
async def update_chat(request: Request, chat_id: str) -> Response:
    """Change the title, the settings, or which branch is shown."""
    api, owner = api_of(request), owner_of(request.scope)
    update = requests.decode(await _body(request), ChatUpdate)
    changes: dict[str, Any] = {}
    if update.title is not None:
        changes["title"] = requests.clean_title(update.title)
    if update.settings is not None:
        requests.check_settings(update.settings)
        changes["settings"] = msgspec.to_builtins(update.settings)
    if update.head is not None:
        changes["head"] = update.head
    return _json(_plain(await api.chats.update(owner, chat_id, changes)))


@router.delete("/{chat_id}")
async def delete_chat(request: Request, chat_id: str) -> Response:
    """Delete a chat; an answer that is being made in it is stopped."""
    api, owner = api_of(request), owner_of(request.scope)
    await _stop(api, owner, chat_id)
    await api.chats.delete(owner, chat_id)
    return _json({"id": chat_id, "deleted": True})


@router.get("/{chat_id}/export")
async def export_chat(
    request: Request,
    chat_id: str,
    format: Literal["json", "markdown"] = "json",  # noqa: A002 - the query's name
) -> Response:
    """A chat as a file."""
    chat, messages = await api_of(request).chats.chat(owner_of(request.scope), chat_id)
    if format == "json":
        body, kind, ending = export.as_json(chat, messages), "application/json", "json"
    else:
        body = export.as_markdown(chat, requests.branch(messages, chat.head))
        kind, ending = "text/markdown; charset=utf-8", "md"
    name = export.file_name(chat.title, ending)
    return Response(body, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@router.post("/{chat_id}/turns")
async def create_turn(request: Request, chat_id: str) -> Response:
    """Add messages and let the model answer; the answer is made whoever watches."""
    api, owner = api_of(request), owner_of(request.scope)
    wanted = requests.decode(await _body(request), NewTurn)
    api.turns.reserve(owner, chat_id)
    try:
        messages, turn, read, model, title = await _prepared(api, request, chat_id, wanted)
        source = ReadSource(api.service.generate(model, read.generates[0]), read.options.tools)
        await api.chats.append(owner, chat_id, messages, title)
    except BaseException:  # a cancelled one, too, lets the chat go
        api.turns.release(owner, chat_id)
        raise
    api.turns.begin(turn, source, api.chats)
    return _json({"title": title, "messages": messages})


async def _prepared(
    api: Api, request: Request, chat_id: str, wanted: NewTurn
) -> tuple[list[Message], Turn, GenerationRead, str, str]:
    """Return a turn with all that it needs: its messages, its request, the model's name and the chat's title.

    Nothing of it is kept yet. Raises what is wrong with the request.
    """
    owner = owner_of(request.scope)
    chat, known = await api.chats.chat(owner, chat_id)
    messages = requests.new_messages(wanted)
    answer = messages[-1]
    body = requests.request_body(chat.settings, [*requests.branch(known, wanted.parent), *messages[:-1]])
    job = api.job(request, "chat", new_answer_id("chat"))
    read = await request_body.read_parts([body], job, api.body_processes)
    assert isinstance(read, GenerationRead)
    api.note(request, read)
    model = api.resolve(request, read.model)
    answer.content = Content(model=model)
    title = chat.title or requests.title_of(next((each.text for each in wanted.messages), ""))
    return messages, Turn(owner, chat_id, answer), read, model, title


@router.post("/{chat_id}/stop")
async def stop_turn(request: Request, chat_id: str) -> Response:
    """End the running answer where it is; without one nothing happens."""
    return _json({"stopped": await _stop(api_of(request), owner_of(request.scope), chat_id)})


@router.get("/{chat_id}/events")
async def watch_turn(request: Request, chat_id: str, message: str, after: int = 0) -> Response:
    """The events of the answer `message`, behind the one that `Last-Event-ID` or `after` names.

    204: it isn't being made any more; the chat has it.
    """
    api = api_of(request)
    turn = api.turns.of_chat(owner_of(request.scope), chat_id)
    if turn is None or turn.id != message:
        return Response(status_code=204)
    last = request.headers.get("last-event-id", "")
    place = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else max(0, after)
    watch = partial(turn.watch, place, api.config.sse_comment_s)
    return StreamingResponse(watch(), media_type=sse.CONTENT_TYPE, headers=_SSE_HEADERS)


async def _stop(api: Api, owner: str, chat_id: str) -> bool:
    turn = api.turns.of_chat(owner, chat_id)
    if turn is not None:
        await turn.stop()
    return turn is not None


async def _body(request: Request) -> bytes:
    """Return a body whose bytes are a prompt, for the most part."""
    limit = min(api_of(request).config.body_limit_bytes, MAX_PROMPT_BYTES)
    body = b"".join(await request_body.body_parts(request, limit))
    check_structure(body)
    return body


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    plain = msgspec.to_builtins(value)
    assert isinstance(plain, dict)
    return plain


def _json(body: Any) -> Response:
    return Response(
        msgspec.json.encode(body), media_type="application/json", headers={"Cache-Control": "no-store"}
    )
