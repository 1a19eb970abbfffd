"""What is kept of responses, over the whole HTTP side: chains, lists, keys, conversations, chats."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from models.errors import StoreError, WorkerDied
from server.http.body_processes import BodyProcesses
from server.responses.database import StateDatabase
from tests.server.http_client import error_of
from tests.server.responses.clients import http_of, keeping_app, named_events, sdk_of
from tests.server.scripted_answers import answers, call, chat_of, turns
from tests.server.scripted_service import ScriptedService, says

HI = {"model": "demo", "input": "Hi"}


async def test_a_response_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    service = ScriptedService()
    async with sdk_of(keeping_app(service, tmp_path)) as client:
        first = await client.responses.create(
            model="demo", input="One", instructions="Be brief.", metadata={"a": "b"}
        )
        kept = await client.responses.retrieve(first.id)
        second = await client.responses.create(model="demo", input="Two", previous_response_id=first.id)
        third = await client.responses.create(model="demo", input="Three", previous_response_id=second.id)
    assert kept == first
    assert third.previous_response_id == second.id
    prompts = [chat_of(request).messages for _, request in service.requests]
    assert prompts[2] == [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Hello world"},
        {"role": "user", "content": "Two"},
        {"role": "assistant", "content": "Hello world"},
        {"role": "user", "content": "Three"},
    ]
    assert prompts[2][: len(prompts[1])] == prompts[1]  # so all of it is in the prefix cache


async def test_it_is_there_after_a_restart_and_after_a_stream(tmp_path: Path) -> None:
    async with http_of(keeping_app(ScriptedService(), tmp_path)) as client:
        stream = await client.post("/v1/responses", json={**HI, "stream": True})
    final = named_events(stream.text)[-1]["response"]
    assert final["store"] is True
    async with http_of(keeping_app(ScriptedService(), tmp_path)) as client:
        kept = await client.get(f"/v1/responses/{final['id']}")
        more = await client.post("/v1/responses", json={**HI, "previous_response_id": final["id"]})
    assert kept.json() == final
    assert more.status_code == 200


async def test_input_items(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(7)]
    items: Any = [{"role": "user", "content": text} for text in texts]
    async with sdk_of(keeping_app(ScriptedService(), tmp_path)) as client:
        response = await client.responses.create(model="demo", input=items)
        listed: Any = [item async for item in client.responses.input_items.list(response.id, limit=3)]
        ascending: Any = await client.responses.input_items.list(response.id, order="asc", limit=2)
        with pytest.raises(openai.BadRequestError):
            await client.responses.input_items.list(response.id, after="msg_no")
        with pytest.raises(openai.BadRequestError):
            await client.responses.input_items.list(response.id, limit=1_000)
    assert [item.content[0].text for item in listed] == texts[::-1]
    assert [item.content[0].text for item in ascending.data] == texts[:2]
    assert ascending.has_more is True
    assert len({item.id for item in listed}) == 7


async def test_items_are_named_by_their_ids(tmp_path: Path) -> None:
    service = ScriptedService()
    async with http_of(keeping_app(service, tmp_path)) as client:
        first = (await client.post("/v1/responses", json=HI)).json()
        items = [
            {"type": "item_reference", "id": first["output"][0]["id"]},
            {"role": "user", "content": "So?"},
        ]
        await client.post("/v1/responses", json={**HI, "input": items})
    assert [message["content"] for message in chat_of(service.requests[1][1]).messages] == [
        "Hello world",
        "So?",
    ]


async def test_a_deleted_response_is_gone(tmp_path: Path) -> None:
    async with sdk_of(keeping_app(ScriptedService(), tmp_path)) as client:
        first = await client.responses.create(model="demo", input="Hi")
        second = await client.responses.create(model="demo", input="Hi", previous_response_id=first.id)
        await client.responses.delete(first.id)
        for _ in range(2):
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(first.id)
            with pytest.raises(openai.NotFoundError):
                await client.responses.delete(first.id)
        for previous in (first.id, second.id):
            with pytest.raises(openai.BadRequestError) as caught:
                await client.responses.create(model="demo", input="Hi", previous_response_id=previous)
            assert caught.value.code == "previous_response_not_found"
            assert first.id in caught.value.message


async def test_a_response_that_the_client_does_not_want_kept(tmp_path: Path) -> None:
    async with http_of(keeping_app(ScriptedService(), tmp_path)) as client:
        response = (await client.post("/v1/responses", json={**HI, "store": False})).json()
        kept = await client.get(f"/v1/responses/{response['id']}")
    assert response["store"] is False
    assert kept.status_code == 404
    error_of(kept)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_x"),
        ("DELETE", "/v1/responses/resp_x"),
        ("POST", "/v1/responses/resp_x/cancel"),
        ("GET", "/v1/responses/resp_x/input_items"),
        ("GET", "/v1/conversations/conv_x"),
        ("DELETE", "/v1/conversations/conv_x"),
        ("GET", "/v1/conversations/conv_x/items"),
        ("GET", "/v1/conversations/conv_x/items/msg_x"),
        ("DELETE", "/v1/conversations/conv_x/items/msg_x"),
        ("GET", "/v1/chat/completions/chatcmpl-x"),
        ("DELETE", "/v1/chat/completions/chatcmpl-x"),
        ("GET", "/v1/chat/completions/chatcmpl-x/messages"),
    ],
)
async def test_what_is_not_there(method: str, path: str, tmp_path: Path) -> None:
    for folder in (tmp_path, None):
        async with http_of(keeping_app(ScriptedService(), folder)) as client:
            response = await client.request(method, path)
        assert response.status_code == 404
        assert ("response_store" in error_of(response)["message"]) == (folder is None)


async def test_a_server_that_keeps_nothing_says_which_setting() -> None:
    async with http_of(keeping_app(ScriptedService(), None)) as client:
        response = await client.post("/v1/responses", json={**HI, "store": True})
        assert response.json()["store"] is False
        for fields, param in (
            ({"previous_response_id": "resp_x"}, "previous_response_id"),
            ({"conversation": "conv_x"}, "conversation"),
            ({"input": [{"type": "item_reference", "id": "msg_x"}]}, "input"),
        ):
            refused = await client.post("/v1/responses", json={**HI, **fields})
            assert refused.status_code == 400
            error = error_of(refused)
            assert error["param"] == param
            assert "response_store" in error["message"]
        assert (await client.post("/v1/conversations", json={})).status_code == 404


async def test_keys_do_not_see_each_others_responses(tmp_path: Path) -> None:
    app = keeping_app(ScriptedService(), tmp_path, api_keys=("one", "two"))
    one, two = ({"Authorization": f"Bearer {key}"} for key in ("one", "two"))
    async with http_of(app) as client:
        response = (await client.post("/v1/responses", json=HI, headers=one)).json()
        path = f"/v1/responses/{response['id']}"
        assert (await client.get(path, headers=two)).status_code == 404
        assert (await client.delete(path, headers=two)).status_code == 404
        more = {**HI, "previous_response_id": response["id"]}
        assert (await client.post("/v1/responses", json=more, headers=two)).status_code == 400
        reference = [{"type": "item_reference", "id": response["output"][0]["id"]}]
        assert (
            await client.post("/v1/responses", json={**HI, "input": reference}, headers=two)
        ).status_code == 400
        assert (await client.get(path, headers=one)).status_code == 200
        assert (await client.get(path, headers={"X-Api-Key": "one"})).status_code == 200


async def test_an_answer_that_can_not_be_kept_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StoreError("can't keep an answer: database or disk is full")

    monkeypatch.setattr(StateDatabase, "add", full)
    async with http_of(keeping_app(ScriptedService(), tmp_path)) as client:
        whole = (await client.post("/v1/responses", json=HI)).json()
        stream = await client.post("/v1/responses", json={**HI, "stream": True})
    for response in (whole, named_events(stream.text)[-1]["response"]):
        assert response["status"] == "completed"
        assert response["store"] is False
        assert "full" in response["warnings"][-1]


async def test_a_running_response_is_cancelled(tmp_path: Path) -> None:
    never = asyncio.Event()
    service = ScriptedService(lambda request: [*says("a", "b")(request)[:3], never])
    async with sdk_of(keeping_app(service, tmp_path)) as client:
        stream = await client.responses.create(model="demo", input="Hi", stream=True)
        events: list[Any] = []
        async for event in stream:
            events.append(event)
            if events[-1].type == "response.output_text.delta" and events[-1].delta == "b":
                running = await client.responses.retrieve(events[0].response.id)
                cancelled = await client.responses.cancel(events[0].response.id)
        kept = await client.responses.retrieve(cancelled.id)
        again = await client.responses.cancel(cancelled.id)
    assert running.status == "in_progress"
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.status == cancelled.status == kept.status == again.status == "cancelled"
    assert kept.output_text == "ab"
    assert [request_id.partition("_")[0] for request_id in service.closed] == ["resp"]


async def test_a_whole_response_is_cancelled(tmp_path: Path) -> None:
    running, never = asyncio.Event(), asyncio.Event()

    def script(request: Any) -> Any:
        yield from says("a", "b")(request)[:3]
        running.set()
        yield never

    service = ScriptedService(script)
    app = keeping_app(service, tmp_path)
    async with http_of(app) as client:
        asked = asyncio.create_task(client.post("/v1/responses", json=HI))
        await running.wait()
        response_id = service.request.id
        cancelled = await client.post(f"/v1/responses/{response_id}/cancel")
        response = await asked
        kept = await client.get(f"/v1/responses/{response_id}")
    assert response.json() == cancelled.json() == kept.json()
    assert response.json()["status"] == "cancelled"


async def test_what_is_kept_of_a_chat_has_metadata_of_strings(tmp_path: Path) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": 1 << 70}}
    async with http_of(keeping_app(ScriptedService(), tmp_path)) as client:
        ignored = await client.post("/v1/chat/completions", json=body)
        refused = await client.post("/v1/chat/completions", json={**body, "store": True})
    assert ignored.status_code == 200
    assert error_of(refused)["param"] == "metadata"


async def test_long_fields_are_not_repeated(tmp_path: Path) -> None:
    async with http_of(keeping_app(ScriptedService(), tmp_path)) as client:
        response = await client.post(
            "/v1/responses", json={**HI, "instructions": "a" * 300_000, "stream": True}
        )
    final = named_events(response.text)[-1]["response"]
    assert final["instructions"] is None
    assert "repeated" in final["warnings"][0]
    assert len(response.content) < 100_000


async def test_conversations(tmp_path: Path) -> None:
    service = ScriptedService()
    async with sdk_of(keeping_app(service, tmp_path)) as client:
        made = await client.conversations.create(
            items=[{"type": "message", "role": "user", "content": "I am Ann."}], metadata={"topic": "x"}
        )
        assert await client.conversations.retrieve(made.id) == made
        first = await client.responses.create(model="demo", input="Hi", conversation=made.id)
        await client.responses.create(model="demo", input="So?", conversation={"id": made.id})
        listed: Any = [item async for item in client.conversations.items.list(made.id, order="asc", limit=2)]
        added = await client.conversations.items.create(
            made.id, items=[{"type": "message", "role": "user", "content": "Bye"}]
        )
        one: Any = await client.conversations.items.retrieve(added.data[0].id or "", conversation_id=made.id)
        await client.conversations.items.delete(one.id, conversation_id=made.id)
        with pytest.raises(openai.NotFoundError):
            await client.conversations.items.retrieve(one.id, conversation_id=made.id)
        updated = await client.conversations.update(made.id, metadata={"topic": "y"})
        gone = await client.conversations.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="demo", input="Hi", conversation=made.id)
        assert (await client.responses.retrieve(first.id)).id == first.id
    assert updated.metadata == {"topic": "y"}
    assert gone.deleted
    assert first.conversation is not None
    assert first.conversation.id == made.id
    assert [item.content[0].text for item in listed] == [
        "I am Ann.",
        "Hi",
        "Hello world",
        "So?",
        "Hello world",
    ]
    assert [message["content"] for message in chat_of(service.requests[1][1]).messages] == [
        "I am Ann.",
        "Hi",
        "Hello world",
        "So?",
    ]
    assert one.content[0].text == "Bye"


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([{"type": "dream"}], "items[0].type"),
        ([{"type": "function_call_output", "call_id": "a", "output": "x"}], "items[0].call_id"),
        ([{"role": "user", "content": "x"}] * 21, "items"),
        ([{"role": "user", "content": "x", "more": 1 << 70}], "items"),
    ],
)
async def test_wrong_items_get_into_no_conversation(items: Any, param: str, tmp_path: Path) -> None:
    async with http_of(keeping_app(ScriptedService(), tmp_path)) as client:
        response = await client.post("/v1/conversations", json={"items": items})
        conversation = (await client.post("/v1/conversations", json={})).json()
        added = await client.post(f"/v1/conversations/{conversation['id']}/items", json={"items": items})
    for refused in (response, added):
        assert refused.status_code == 400
        assert error_of(refused)["param"] == param


async def test_an_output_belongs_to_a_call_that_is_in_the_conversation(tmp_path: Path) -> None:
    def call(call_id: str) -> dict[str, Any]:
        return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}

    def output(call_id: str) -> dict[str, Any]:
        return {"type": "function_call_output", "call_id": call_id, "output": "x"}

    async with http_of(keeping_app(ScriptedService(), tmp_path)) as client:
        conversation = (await client.post("/v1/conversations", json={})).json()
        path = f"/v1/conversations/{conversation['id']}/items"

        async def add(*items: dict[str, Any]) -> int:
            response = await client.post(path, json={"items": items})
            if response.status_code != 200:
                assert error_of(response)["param"] == "items[0].call_id"
            return response.status_code

        assert await add(call("a"), call("b")) == 200
        assert await add({"role": "user", "content": "x"}) == 200
        assert await add(output("c")) == 400
        assert await add(call("a")) == 400
        assert await add(output("b")) == 200
        assert await add(output("b")) == 400
        both = await asyncio.gather(add(output("a")), add(output("a")))
        listed = (await client.get(path, params={"order": "asc"})).json()
    assert sorted(both) == [200, 400]
    assert [item.get("call_id") for item in listed["data"]] == ["a", "b", None, "b", "a"]


async def test_a_call_has_one_output_in_a_chain_and_in_a_conversation(tmp_path: Path) -> None:
    service = ScriptedService(turns(answers(call("f", {})), *[says("ok")] * 3))
    tool = {"type": "function", "name": "f"}
    async with http_of(keeping_app(service, tmp_path)) as client:
        conversation = (await client.post("/v1/conversations", json={})).json()["id"]
        ask = {"model": "demo", "tools": [tool], "conversation": conversation}
        first = (await client.post("/v1/responses", json={**ask, "input": "Hi"})).json()
        (made,) = first["output"]
        output = {"type": "function_call_output", "call_id": made["call_id"], "output": "x"}
        second = await client.post("/v1/responses", json={**ask, "input": [output]})
        refused = [await client.post("/v1/responses", json={**ask, "input": [output]})]
        del ask["conversation"]
        chain = {**ask, "previous_response_id": first["id"]}
        third = await client.post("/v1/responses", json={**chain, "input": [output]})
        chain["previous_response_id"] = third.json()["id"]
        refused.append(await client.post("/v1/responses", json={**chain, "input": [output]}))
        branch = {**ask, "previous_response_id": first["id"], "input": [output]}
        fourth = await client.post("/v1/responses", json=branch)
    assert [answer.status_code for answer in (second, third, fourth)] == [200] * 3
    for answer in refused:
        assert answer.status_code == 400
        assert error_of(answer)["param"] == "input[0].call_id"
        assert "has its output already" in error_of(answer)["message"]


LOCKED = ("invalid_request_error", "conversation", "conversation_locked")


def assert_locked(response: Any) -> None:
    assert response.status_code == 400
    error = error_of(response)
    assert (error["type"], error["param"], error["code"]) == LOCKED


@pytest.mark.parametrize("stream", [True, False])
async def test_a_conversation_has_one_turn_at_a_time(stream: bool, tmp_path: Path) -> None:
    running, go_on = asyncio.Event(), asyncio.Event()

    def slow(request: Any) -> Any:
        steps = says("a", "b")(request)
        yield from steps[:2]
        running.set()
        yield go_on
        yield from steps[2:]

    service = ScriptedService(turns(slow, *[says("ok")] * 4))
    async with http_of(keeping_app(service, tmp_path)) as client:
        made = [(await client.post("/v1/conversations", json={})).json()["id"] for _ in range(2)]
        ask = {**HI, "conversation": made[0]}
        items = f"/v1/conversations/{made[0]}/items"
        more = {"items": [{"role": "user", "content": "x"}]}
        kept = (await client.post(items, json=more)).json()["data"][0]["id"]
        first = asyncio.create_task(client.post("/v1/responses", json={**ask, "stream": stream}))
        await running.wait()
        for given in ({}, {"stream": True}, {"conversation": {"id": made[0]}}, {"store": False}):
            assert_locked(await client.post("/v1/responses", json={**ask, **given}))
        assert_locked(await client.post(items, json=more))
        assert_locked(await client.delete(f"{items}/{kept}"))
        counted = await client.post("/v1/responses/input_tokens", json=ask)
        other = await client.post("/v1/responses", json={**HI, "conversation": made[1]})
        alone = await client.post("/v1/responses", json=HI)
        go_on.set()
        answered = await first
        next_one = await client.post("/v1/responses", json=ask)
        added = await client.post(items, json=more)
    for response in (counted, other, alone, answered, next_one, added):
        assert response.status_code == 200, response.text
    texts = [message["content"] for message in chat_of(service.requests[-1][1]).messages]
    assert texts == ["x", "Hi", "ab", "Hi"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_turn_ends_however_its_response_ends(stream: bool, tmp_path: Path) -> None:
    running, never = asyncio.Event(), asyncio.Event()

    def hangs(request: Any) -> Any:
        yield says("a")(request)[0]
        running.set()
        yield never

    scripts = [
        lambda _: [WorkerDied("The worker died")],
        lambda request: [*says("a")(request)[:2], WorkerDied("The worker died")],
        hangs,
        says("ok"),
    ]
    async with http_of(keeping_app(ScriptedService(turns(*scripts)), tmp_path)) as client:
        conversation = (await client.post("/v1/conversations", json={})).json()["id"]
        ask = {**HI, "conversation": conversation, "stream": stream}
        assert (await client.post("/v1/responses", json={**ask, "input": []})).status_code == 400
        assert (await client.post("/v1/responses", json={**ask, "model": "none"})).status_code == 404
        assert (await client.post("/v1/responses", json=ask)).status_code == 503
        await client.post("/v1/responses", json=ask)
        gone = asyncio.create_task(client.post("/v1/responses", json=ask))
        await running.wait()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        last = await client.post("/v1/responses", json=ask)
    assert last.status_code == 200


async def test_an_item_is_named_once(tmp_path: Path) -> None:
    """A short request must not become as long as a kept item times the number of its names."""
    async with http_of(keeping_app(ScriptedService(), tmp_path)) as client:
        first = (await client.post("/v1/responses", json=HI)).json()
        reference = {"type": "item_reference", "id": first["output"][0]["id"]}
        response = await client.post("/v1/responses", json={"model": "demo", "input": [reference] * 2})
    assert response.status_code == 400
    assert error_of(response)["param"] == "input[1].id"
    assert "Duplicate item" in error_of(response)["message"]


async def test_large_items_that_a_request_names_are_read_elsewhere(tmp_path: Path) -> None:
    app = keeping_app(ScriptedService(), tmp_path)
    async with http_of(app) as client:
        first = (await client.post("/v1/responses", json={**HI, "input": "Hello, you. " * 20_000})).json()
        (item,) = (await client.get(f"/v1/responses/{first['id']}/input_items")).json()["data"]
        n_started = app.state.api.body_processes.n_started
        app.state.api.body_processes.close()
        again = {"model": "demo", "input": [{"type": "item_reference", "id": item["id"]}]}
        app.state.api.__dict__["body_processes"] = BodyProcesses()
        response = await client.post("/v1/responses", json=again)
    app.state.api.body_processes.close()
    assert response.status_code == 200
    assert n_started == app.state.api.body_processes.n_started == 1


async def test_a_large_request_is_read_elsewhere_with_its_history(tmp_path: Path) -> None:
    service = ScriptedService()
    app = keeping_app(service, tmp_path)
    long = "Hello, you. " * 20_000
    async with http_of(app) as client:
        first = (await client.post("/v1/responses", json={**HI, "input": long})).json()
        second = await client.post("/v1/responses", json={**HI, "previous_response_id": first["id"]})
        listed = await client.get(f"/v1/responses/{first['id']}/input_items")
    app.state.api.body_processes.close()
    assert second.status_code == 200
    assert app.state.api.body_processes.n_started > 0
    assert [len(message["content"]) for message in chat_of(service.requests[1][1]).messages] == [
        len(long),
        len("Hello world"),
        2,
    ]
    assert listed.json()["data"][0]["content"][0]["text"] == long


async def test_kept_chat_completions(tmp_path: Path) -> None:
    service = ScriptedService()
    async with sdk_of(keeping_app(service, tmp_path)) as client:
        made = await client.chat.completions.create(
            model="demo",
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            store=True,
            metadata={"a": "1"},
        )
        stream = await client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "So?"}], store=True, stream=True
        )
        chunks = [chunk async for chunk in stream]
        await client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "No"}])
        kept = await client.chat.completions.retrieve(made.id)
        streamed = await client.chat.completions.retrieve(chunks[0].id)
        listed = [completion.id async for completion in client.chat.completions.list(limit=1)]
        with_metadata = [
            completion.id async for completion in client.chat.completions.list(metadata={"a": "1"})
        ]
        messages = [m async for m in client.chat.completions.messages.list(made.id)]
        updated: Any = await client.chat.completions.update(made.id, metadata={"a": "2"})
        deleted = await client.chat.completions.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.retrieve(made.id)
    assert kept.choices == made.choices
    assert kept.usage == made.usage
    assert streamed.choices[0].message.content == "Hello world"
    assert listed == [made.id, chunks[0].id]
    assert with_metadata == [made.id]
    assert [message.content for message in messages] == ["Be brief.", "Hi"]
    assert updated.metadata == {"a": "2"}
    assert deleted.deleted


def content_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_keys_are_not_in_the_file(tmp_path: Path) -> None:
    app = keeping_app(ScriptedService(), tmp_path, api_keys=("very-secret-key",))
    async with http_of(app) as client:
        await client.post("/v1/responses", json=HI, headers={"Authorization": "Bearer very-secret-key"})
    content = content_of(tmp_path)
    assert b"Hello world" in content
    assert b"very-secret-key" not in content
