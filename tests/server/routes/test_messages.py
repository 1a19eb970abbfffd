"""What goes over the wire of `/v1/messages`: events byte by byte, errors, and what requests may have."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest

from server.engine.events import ChoiceEnd, Delta, Started
from tests.server.http_client import app_for, client_for, serving
from tests.server.scripted_answers import HERMES_THINKING, answers, call, chat_of
from tests.server.scripted_service import DEMO, IDLE, ScriptedService, finish, says

USER: dict[str, Any] = {"role": "user", "content": "Hi"}
ASK: dict[str, Any] = {"model": "demo", "max_tokens": 500, "messages": [USER]}
TOOL: dict[str, Any] = {"name": "read", "input_schema": {"type": "object"}}


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of each event, whose name it must have."""
    assert text.endswith("\n\n")
    events: list[dict[str, Any]] = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.removeprefix(": keep-alive\n").split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def error_of(response: httpx.Response, kind: str) -> str:
    """The message of an error, after checking that it has exactly Anthropic's form."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.content))
    body = response.json()
    assert body.keys() == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["error"].keys() == {"type", "message"}
    assert body["error"]["type"] == kind
    message: str = body["error"]["message"]
    return message


async def test_the_golden_stream() -> None:
    async with client_for(ScriptedService(says("Hé", "llo"))) as client:
        response = await client.post("/v1/messages?beta=true", json={**ASK, "stream": True})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["request-id"] == response.headers["x-request-id"]
    message_id = json.loads(response.text.split("\n")[1].removeprefix("data: "))["message"]["id"]
    assert response.text == (
        'event: message_start\ndata: {"type":"message_start","message":{"type":"message",'
        f'"id":"{message_id}","role":"assistant","model":"demo","content":[],"stop_reason":null,'
        '"stop_sequence":null,"usage":{"input_tokens":4,"cache_creation_input_tokens":0,'
        '"cache_read_input_tokens":3,"output_tokens":0}}}\n\n'
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        '"content_block":{"type":"text","text":""}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":"Hé"}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":"llo"}}\n\n'
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
        '"stop_sequence":null},"usage":{"input_tokens":4,"cache_creation_input_tokens":0,'
        '"cache_read_input_tokens":3,"output_tokens":2}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


async def test_a_silence_is_filled_with_pings() -> None:
    def script(request: Any) -> list[Any]:
        steps = list(says("a")(request))
        return [steps[0], 0.25, *steps[1:]]

    async with (
        serving(app_for(ScriptedService(script), sse_comment_s=0.1)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        response = await client.post("/v1/messages", json={**ASK, "stream": True})
    kinds = [event["type"] for event in events_of(response.text)]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[-1] == "message_stop"


async def test_white_space_alone_is_no_block() -> None:
    text = f"<think>\nHm.\n</think>\n\n{call('read', {'a': 1})}\n\n{call('read', {'a': 2})}\n"
    async with client_for(ScriptedService(answers(text, HERMES_THINKING, size=1))) as client:
        response = await client.post("/v1/messages", json={**ASK, "stream": True, "tools": [TOOL]})
    events = events_of(response.text)
    begun = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [block["type"] for block in begun] == ["thinking", "tool_use", "tool_use"]
    assert begun[0] == {"type": "thinking", "thinking": "", "signature": ""}
    assert begun[1]["input"] == {}
    said = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert [delta["type"] for delta in said if delta["type"].startswith(("th", "sig"))][
        -1
    ] == "signature_delta"
    for index, value in ((1, 1), (2, 2)):
        parts = [e["delta"]["partial_json"] for e in events if "delta" in e and e.get("index") == index]
        assert json.loads("".join(parts)) == {"a": value}


@pytest.mark.parametrize(
    ("stop", "expected"), [("END", ("stop_sequence", "END")), ("USER:", ("end_turn", None))]
)
async def test_the_stop_sequence_is_told_if_it_is_the_clients(stop: str, expected: Any) -> None:
    def script(request: Any) -> list[Any]:
        end = ChoiceEnd(id=request.id, index=0, finish_reason="stop", stop=stop)
        started = Started(id=request.id, prompt_tokens=7, cached_tokens=3)
        return [started, Delta(id=request.id, index=0, text="a"), end, finish(request, 1)]

    service = ScriptedService(script)
    async with client_for(service) as client:
        response = await client.post("/v1/messages", json={**ASK, "stop_sequences": ["END"]})
    body = response.json()
    assert (body["stop_reason"], body["stop_sequence"]) == expected
    assert service.request.params.stop == ("END",)


async def test_sampling_and_ours_besides() -> None:
    service = ScriptedService()
    more = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "seed": 3, "max_tokens": 10**9}
    async with client_for(service) as client:
        response = await client.post("/v1/messages", json={**ASK, **more})
    assert response.status_code == 200, response.text
    params = service.request.params
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.5, 0.9, 7, 0.1)
    assert {"temperature", "top_p", "top_k", "min_p", "seed", "max_tokens"} <= {*service.request.given}


async def test_what_is_ignored_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    more = {
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "service_tier": "auto",
        "metadata": {"user_id": "{}"},
        "cache_control": {"type": "ephemeral"},
        "mcp_servers": [],
        "tools": [search, {**TOOL, "cache_control": {"type": "ephemeral"}, "strict": True}],
    }
    service = ScriptedService()
    headers = {"anthropic-version": "2031-01-01", "anthropic-beta": "a,b,c"}
    async with client_for(service) as client:
        with caplog.at_level(logging.WARNING, "corral.http"):
            for _ in range(2):
                response = await client.post("/v1/messages", json={**ASK, **more}, headers=headers)
    assert response.status_code == 200, response.text
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2
    assert "'context_management'" in warned[0]
    assert "web_search_20250305" in warned[1]
    assert [tool.name for tool in chat_of(service.requests[0][1]).tools] == ["read"]


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "content[0].source"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "'document'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"system": [{"type": "image"}]}, "system[0]"),
        ({"mcp_servers": [{"type": "url", "url": "https://a", "name": "a"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"response_format": {"type": "json_object"}}, "output_config.format"),
        ({"functions": [{"name": "f"}]}, "'functions'"),
        ({"tools": [{"name": "bash", "type": "bash_20250124"}]}, "bash_20250124"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tools": [{**TOOL, "strict": "yes"}]}, "tools[0].strict"),
        ({"tools": [{**TOOL, "defer_loading": 1}]}, "tools[0].defer_loading"),
        ({"tools": [{**TOOL, "input_examples": [1]}]}, "tools[0].input_examples"),
        ({"tools": [{**TOOL, "input_examples": [{"a": 1 << 70}]}]}, "tools[0].input_examples"),
        ({"tools": [{**TOOL, "allowed_callers": ["code_execution_20250825"]}]}, "tools[0].allowed_callers"),
        ({"tools": [{**TOOL, "allowed_callers": "direct"}]}, "tools[0].allowed_callers"),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": "no"}}, "disable_parallel_tool_use"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"thinking": {"type": "sometimes"}}, "thinking.type"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"compaction": {"type": "auto"}}, "compaction"),
        (
            {
                "output_format": {"type": "json_schema", "schema": {"type": "string"}},
                "output_config": {"format": {"type": "json_schema", "schema": {}}},
            },
            "output_format",
        ),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "'x'"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 2}, "'n'"),
        ({"output_config": {"format": {"type": "xml", "schema": {}}}}, "output_config.format.type"),
    ],
)  # fmt: skip
async def test_bad_requests(change: dict[str, Any], said: str) -> None:
    async with client_for() as client:
        response = await client.post("/v1/messages", json={**ASK, **change})
    assert response.status_code == 400
    assert said in error_of(response, "invalid_request_error")


async def test_no_json_is_a_bad_request() -> None:
    async with client_for() as client:
        response = await client.post("/v1/messages", content=b"{")
        counted = await client.post("/v1/messages/count_tokens", content=b"{")
    for one in (response, counted):
        assert one.status_code == 400
        assert "JSON" in error_of(one, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("DELETE", "/v1/messages/count_tokens", 405, "invalid_request_error"),
    ],
)
async def test_errors_of_routing(method: str, path: str, status: int, kind: str) -> None:
    async with client_for() as client:
        response = await client.request(method, path)
    assert response.status_code == status
    error_of(response, kind)


async def test_a_request_of_anthropics_gets_their_errors_everywhere() -> None:
    headers = {"anthropic-version": "2023-06-01"}
    async with client_for(api_keys=("k",)) as client:
        missing = await client.get("/v1/models", headers=headers)
        assert missing.status_code == 401
        assert missing.headers["www-authenticate"] == "Bearer"
        error_of(missing, "authentication_error")
        plain = await client.get("/v1/models")
        assert "param" in plain.json()["error"]
        known = {**headers, "x-api-key": "k"}
        error_of(await client.get("/v1/nowhere", headers=known), "not_found_error")
        error_of(await client.get("/v1/models/nobody", headers=known), "not_found_error")
        unread = {**known, "content-encoding": "zstd"}
        error_of(await client.post("/v1/messages", content=b"x", headers=unread), "invalid_request_error")
    async with client_for() as client:
        foreign = await client.get("/v1/models", headers={**headers, "host": "a.example"})
        assert foreign.status_code == 403
        error_of(foreign, "permission_error")


async def test_a_body_that_is_too_large() -> None:
    async with client_for(body_limit_bytes=1 << 20) as client:
        response = await client.post("/v1/messages", content=b" " * (1 << 21))
    assert response.status_code == 413
    error_of(response, "request_too_large")


async def test_what_is_no_http_gets_the_form_of_its_route() -> None:
    async with serving(app_for(ScriptedService())) as url:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 1\r\n\r\nx")  # no host
        answer = await reader.read()
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


# --- more ---------------------------------------------------------------------------------------------------


async def test_a_large_body_is_read_alike() -> None:
    small, large = ScriptedService(), ScriptedService()
    tool = {**TOOL, "description": "x" * (1 << 17)}
    plain = {**ASK, "tools": [TOOL], "output_config": {"effort": "max"}}
    async with client_for(small) as client:
        await client.post("/v1/messages", json=plain)
    async with client_for(large) as client:
        response = await client.post("/v1/messages", json={**plain, "tools": [tool]})
        counted = await client.post("/v1/messages/count_tokens", json={"messages": [USER], "tools": [tool]})
        bad = await client.post("/v1/messages", json={**plain, "tools": [tool, tool]})
    assert response.status_code == 200, response.text
    assert counted.json() == {"input_tokens": 7}
    assert "tools[1].name" in error_of(bad, "invalid_request_error")
    one, other = chat_of(small.request), chat_of(large.request)
    assert other.tools[0].description == tool["description"]
    assert (one.messages, one.thinking) == (other.messages, other.thinking)
    assert one.thinking.effort == "high"


async def test_the_models_in_pages() -> None:
    headers = {"anthropic-version": "2023-06-01"}
    async with client_for(ScriptedService(models=[DEMO, IDLE])) as client:
        first = (await client.get("/v1/models?limit=1", headers=headers)).json()
        rest = (await client.get(f"/v1/models?after_id={first['last_id']}", headers=headers)).json()
        front = (await client.get(f"/v1/models?before_id={IDLE.name}", headers=headers)).json()
        for wrong in ("limit=0", "limit=1001", "limit=x", "after_id=nobody"):
            refused = await client.get(f"/v1/models?{wrong}", headers=headers)
            assert refused.status_code == 400
            error_of(refused, "invalid_request_error")
        openai = (await client.get("/v1/models")).json()
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, "demo", "demo")
    assert first["data"][0] == {
        "type": "model",
        "id": "demo",
        "display_name": "demo",
        "created_at": "2023-11-14T22:13:20Z",
        "max_input_tokens": 2048,
        "max_tokens": 2048,
    }
    assert [model["id"] for model in rest["data"]] == [IDLE.name]
    assert not rest["has_more"]
    assert [model["id"] for model in front["data"]] == ["demo"]
    assert openai["object"] == "list"
