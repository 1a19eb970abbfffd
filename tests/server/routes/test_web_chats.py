"""The page's chats over HTTP: turns that go on without a client, events from any place on, and owners."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from models.errors import WorkerBusy
from server.app import create_app
from server.config import ServerConfig
from server.engine.events import Delta, Failure, Started
from server.http.parts import AppParts
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from server.pages.store import ChatStore
from tests.server.http_client import error_of, serving
from tests.server.scripted_answers import HERMES, answers, call, chat_of
from tests.server.scripted_service import ScriptedService, Step, says

LIMIT = 1 << 24


def app_for(service: ScriptedService, folder: Path, **settings: Any) -> FastAPI:
    return create_app(
        ServerConfig(**settings), service, AppParts(chats=ChatStore(folder / "chats.sqlite", LIMIT))
    )


@asynccontextmanager
async def client_for(
    service: ScriptedService, folder: Path, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server on a socket: streams and their ends need one."""
    app = app_for(service, folder, **settings)
    async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client
    await app.state.api.turns.stop_all()
    app.state.api.chats.close()


async def begin(client: httpx.AsyncClient, **settings: Any) -> str:
    made = await client.post("/web/chats", json={"settings": settings})
    assert made.status_code == 200, made.text
    chat_id: str = made.json()["id"]
    return chat_id


async def turn(client: httpx.AsyncClient, chat_id: str, text: str, parent: str | None = None) -> list[Any]:
    made = await client.post(
        f"/web/chats/{chat_id}/turns", json={"parent": parent, "messages": [{"text": text}]}
    )
    assert made.status_code == 200, made.text
    messages: list[Any] = made.json()["messages"]
    return messages


async def events(
    client: httpx.AsyncClient, chat_id: str, message: str, after: int = 0
) -> list[dict[str, Any]]:
    response = await client.get(
        f"/web/chats/{chat_id}/events", params={"message": message}, headers={"Last-Event-ID": str(after)}
    )
    if response.status_code == 204:
        return []
    assert response.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]


async def said(client: httpx.AsyncClient, chat_id: str, text: str) -> None:
    """Return when the last answer has said this much."""
    while True:
        last = (await client.get(f"/web/chats/{chat_id}")).json()["messages"][-1]
        if last["content"].get("text") == text:
            return
        await asyncio.sleep(0.01)


async def settled(client: httpx.AsyncClient, chat_id: str) -> dict[str, Any]:
    """The chat once no answer is made in it."""
    while True:
        chat: dict[str, Any] = (await client.get(f"/web/chats/{chat_id}")).json()
        if chat["running"] is None:
            return chat
        await asyncio.sleep(0.01)


async def test_an_answer_is_made_whoever_watches(tmp_path: Path) -> None:
    async with client_for(ScriptedService(says("Hello", " you")), tmp_path) as client:
        chat_id = await begin(client)
        question, answer = await turn(client, chat_id, "Hi there")
        chat = await settled(client, chat_id)
        assert [message["id"] for message in chat["messages"]] == [question["id"], answer["id"]]
        made = chat["messages"][1]
        assert (made["state"], made["content"]["text"]) == ("complete", "Hello you")
        assert made["content"]["model"] == "demo"
        assert made["content"]["completion_tokens"] == 2
        assert (chat["title"], chat["head"]) == ("Hi there", answer["id"])


async def test_a_reloaded_page_goes_on_where_it_was(tmp_path: Path) -> None:
    go = asyncio.Event()

    def script(request: Generate) -> list[Step]:
        steps = says(*(f"{n} " for n in range(20)))(request)
        return [*steps[:11], go, *steps[11:]]

    async with client_for(ScriptedService(script), tmp_path) as client:
        chat_id = await begin(client)
        _, answer = await turn(client, chat_id, "Count")
        seen = ""
        last = 0
        path = f"/web/chats/{chat_id}/events?message={answer['id']}"
        async with client.stream("GET", path) as response:
            async for line in response.aiter_lines():
                if line.startswith("id: "):
                    last = int(line[4:])
                if line.startswith("data: "):
                    seen += json.loads(line[6:]).get("text", "")
                if "9 " in seen:
                    break
        # The tab is closed. A new one first sees what is there, then what follows.
        chat = (await client.get(f"/web/chats/{chat_id}")).json()
        assert chat["running"]["n_events"] == last
        assert chat["messages"][-1]["content"]["text"] == seen
        assert await events(client, chat_id, "msg_of_another_turn", last) == []
        go.set()
        rest = await events(client, chat_id, answer["id"], last)
        assert seen + "".join(event.get("text", "") for event in rest) == "".join(f"{n} " for n in range(20))
        assert rest[-1]["type"] == "end"
        assert rest[-1]["data"]["content"]["text"].startswith(seen)


async def test_stopping_keeps_what_was_said(tmp_path: Path) -> None:
    service = ScriptedService(lambda request: [*says("so", " far")(request)[:3], asyncio.Event()])
    async with client_for(service, tmp_path) as client:
        chat_id = await begin(client)
        _, answer = await turn(client, chat_id, "Go")
        await said(client, chat_id, "so far")
        assert (await client.post(f"/web/chats/{chat_id}/stop")).json() == {"stopped": True}
        chat = (await client.get(f"/web/chats/{chat_id}")).json()
        assert (chat["running"], chat["messages"][-1]["state"]) == (None, "stopped")
        assert chat["messages"][-1]["content"]["text"] == "so far"
        assert len(service.closed) == 1  # the model has stopped too
        assert (await client.post(f"/web/chats/{chat_id}/stop")).json() == {"stopped": False}
        assert await events(client, chat_id, answer["id"]) == []


async def test_a_chat_has_one_answer_at_a_time(tmp_path: Path) -> None:
    service = ScriptedService(lambda request: [*says("x")(request)[:2], asyncio.Event()])
    async with client_for(service, tmp_path) as client:
        chat_id = await begin(client)
        await turn(client, chat_id, "One")
        again = await client.post(f"/web/chats/{chat_id}/turns", json={"messages": [{"text": "Two"}]})
        assert again.status_code == 400
        assert error_of(again)["code"] == "chat_busy"
        listed = (await client.get("/web/chats")).json()["data"]
        assert [chat["running"] for chat in listed] == [True]
        await turn(client, await begin(client), "In another chat")
        assert (await client.delete("/web/chats")).json() == {"deleted": 2}
        assert service.running == 0
        assert (await client.get(f"/web/chats/{chat_id}")).status_code == 404


async def test_editing_and_answering_again_make_branches(tmp_path: Path) -> None:
    def script(request: Generate) -> list[Step]:
        said = " / ".join(str(message["content"]) for message in chat_of(request).messages)
        return list(says(said)(request))

    async with client_for(ScriptedService(script), tmp_path) as client:
        chat_id = await begin(client)
        first, answer = await turn(client, chat_id, "A")
        await settled(client, chat_id)
        await turn(client, chat_id, "B", answer["id"])
        await settled(client, chat_id)
        again = await client.post(f"/web/chats/{chat_id}/turns", json={"parent": first["id"]})
        second = again.json()["messages"][0]
        assert second["parent"] == first["id"]
        await settled(client, chat_id)
        await turn(client, chat_id, "C", second["id"])
        chat = await settled(client, chat_id)
        texts = {message["id"]: message["content"]["text"] for message in chat["messages"]}
        assert list(texts.values()) == ["A", "A", "B", "A / A / B", "A", "C", "A / A / C"]
        shown = await client.post(f"/web/chats/{chat_id}", json={"head": answer["id"]})
        assert shown.json()["head"] == answer["id"]


async def test_settings_are_the_requests(tmp_path: Path) -> None:
    service = ScriptedService()
    async with client_for(service, tmp_path) as client:
        chat_id = await begin(client, system="Be brief.", parameters={"temperature": 0.25, "seed": 5})
        await turn(client, chat_id, "Hi")
        await settled(client, chat_id)
        request = service.request
        assert (request.params.temperature, request.params.seed) == (0.25, 5)
        assert [message["role"] for message in chat_of(request).messages] == ["system", "user"]
        wrong = await client.post(f"/web/chats/{chat_id}", json={"settings": {"parameters": {"top_p": "x"}}})
        assert error_of(wrong)["param"] == "top_p"
        await client.post(f"/web/chats/{chat_id}", json={"settings": {"model": "nobody"}})
        unknown = await client.post(f"/web/chats/{chat_id}/turns", json={"messages": [{"text": "x"}]})
        assert unknown.status_code == 404
        assert error_of(unknown)["code"] == "model_not_found"
        assert len((await settled(client, chat_id))["messages"]) == 2  # nothing was kept of it


async def test_calls_and_their_results(tmp_path: Path) -> None:
    def script(request: Generate) -> list[Step]:
        prompt = request.prompt
        assert isinstance(prompt, ChatPrompt)
        if prompt.messages[-1]["role"] == "tool":
            return list(says(f"It is {prompt.messages[-1]['content']}.")(request))
        return list(answers(call("weather", {"city": "Oslo"}), HERMES)(request))

    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    async with client_for(ScriptedService(script), tmp_path) as client:
        chat_id = await begin(client, parameters={"tools": [tool]})
        await turn(client, chat_id, "Weather?")
        asked = (await settled(client, chat_id))["messages"][-1]
        (made,) = asked["content"]["calls"]
        assert (made["name"], json.loads(made["arguments"])) == ("weather", {"city": "Oslo"})
        assert asked["content"]["finish_reason"] == "tool_calls"
        result = {"role": "tool", "call_id": made["id"], "text": "cold"}
        await client.post(f"/web/chats/{chat_id}/turns", json={"parent": asked["id"], "messages": [result]})
        chat = await settled(client, chat_id)
        assert chat["messages"][-1]["content"]["text"] == "It is cold."


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Failure(id="x", kind="server_error", message="the worker has died"), "the worker has died"),
        (WorkerBusy("the queue is full", 1.0), "the queue is full"),
        (RuntimeError("a defect"), "The server had an error"),
    ],
)
async def test_an_answer_that_fails_says_why_and_can_be_tried_again(
    tmp_path: Path, step: Step, words: str
) -> None:
    def script(request: Generate) -> list[Step]:
        if len(service.requests) > 1:
            return list(says("Now")(request))
        if isinstance(step, Failure):
            return [
                Started(id=request.id, prompt_tokens=1, cached_tokens=0),
                Delta(id=request.id, index=0, text="half"),
                step,
            ]
        return [step]

    service = ScriptedService(script)
    async with client_for(service, tmp_path) as client:
        chat_id = await begin(client)
        question, _ = await turn(client, chat_id, "Go")
        failed = (await settled(client, chat_id))["messages"][-1]
        assert failed["state"] == "failed"
        assert words in failed["content"]["error"]
        assert failed["content"].get("text", "") == ("half" if isinstance(step, Failure) else "")
        await client.post(f"/web/chats/{chat_id}/turns", json={"parent": question["id"]})
        assert (await settled(client, chat_id))["messages"][-1]["content"]["text"] == "Now"


async def test_a_server_that_was_killed_leaves_an_interrupted_answer(tmp_path: Path) -> None:
    service = ScriptedService(lambda request: [*says("x")(request)[:2], asyncio.Event()])
    async with client_for(service, tmp_path) as client:
        chat_id = await begin(client)
        await turn(client, chat_id, "Go")
        # Another server with the same folder is what comes after a kill -9.
        async with client_for(ScriptedService(), tmp_path) as later:
            chat = (await later.get(f"/web/chats/{chat_id}")).json()
            assert (chat["running"], chat["messages"][-1]["state"]) == (None, "interrupted")
            await later.post(f"/web/chats/{chat_id}/turns", json={"parent": chat["messages"][0]["id"]})
            assert (await settled(later, chat_id))["messages"][-1]["content"]["text"] == "Hello world"


async def test_each_key_has_chats_of_its_own(tmp_path: Path) -> None:
    keys = (SecretStr("one"), SecretStr("two"))
    service = ScriptedService(lambda request: [*says("x")(request)[:2], asyncio.Event()])
    async with client_for(service, tmp_path, api_keys=keys) as client:
        one, two = {"authorization": "Bearer one"}, {"authorization": "Bearer two"}
        client.headers.update(one)
        chat_id = await begin(client)
        _, answer = await turn(client, chat_id, "secret")
        assert (await client.get("/web/chats", headers={"authorization": ""})).status_code == 401
        client.headers.update(two)
        assert (await client.get("/web/chats")).json() == {"data": []}
        for method, path in (
            ("GET", f"/web/chats/{chat_id}"),
            ("POST", f"/web/chats/{chat_id}"),
            ("DELETE", f"/web/chats/{chat_id}"),
            ("GET", f"/web/chats/{chat_id}/export"),
        ):
            assert (await client.request(method, path)).status_code == 404, (method, path)
        assert (await client.post(f"/web/chats/{chat_id}/stop")).json() == {"stopped": False}
        assert await events(client, chat_id, answer["id"]) == []
        client.headers.update(one)
        assert (await client.get(f"/web/chats/{chat_id}")).json()["running"] is not None


async def test_exports_are_files(tmp_path: Path) -> None:
    async with client_for(ScriptedService(), tmp_path) as client:
        chat_id = await begin(client)
        await turn(client, chat_id, "Hi: you")
        await settled(client, chat_id)
        text = await client.get(f"/web/chats/{chat_id}/export", params={"format": "markdown"})
        assert text.headers["content-disposition"] == 'attachment; filename="hi-you.md"'
        assert text.text.endswith("## You\n\nHi: you\n\n## demo\n\nHello world\n")
        exported = await client.get(f"/web/chats/{chat_id}/export")
        brought = await client.post("/web/chats", content=exported.content)
        again = await settled(client, brought.json()["id"])
        assert [message["content"]["text"] for message in again["messages"]] == ["Hi: you", "Hello world"]
        wrong = await client.get(f"/web/chats/{chat_id}/export", params={"format": "pdf"})
        assert error_of(wrong)["param"] == "query.format"


async def test_a_long_text_is_taken_and_an_endless_one_refused(tmp_path: Path) -> None:
    async with client_for(ScriptedService(), tmp_path) as client:
        chat_id = await begin(client)
        await turn(client, chat_id, "word " * 100_000)
        chat = await settled(client, chat_id)
        assert len(chat["messages"][0]["content"]["text"]) == 500_000
        assert chat["messages"][1]["content"]["text"] == "Hello world"
        too_long = await client.post(
            f"/web/chats/{chat_id}/turns", content=b'{"messages":[{"text":"' + b"x" * (9 << 20)
        )
        assert too_long.status_code == 413


async def test_without_a_page_there_are_no_chats() -> None:
    app = create_app(ServerConfig(web_page=False), ScriptedService())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://corral") as client:
        response = await client.get("/web/chats")
        assert response.status_code == 404
        assert "web_page is false" in error_of(response)["message"]
        assert "API documentation" in (await client.get("/")).text


async def test_the_searched_words_are_in_the_chats(tmp_path: Path) -> None:
    async with client_for(ScriptedService(says("An answer about owls")), tmp_path) as client:
        chat_id = await begin(client)
        await turn(client, chat_id, "Birds?")
        await settled(client, chat_id)
        assert [
            chat["id"]
            for chat in (await client.get("/web/chats", params={"query": "OWLS birds"})).json()["data"]
        ] == [chat_id]
        assert (await client.get("/web/chats", params={"query": "fish"})).json()["data"] == []
