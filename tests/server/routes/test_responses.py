"""`/v1/responses` over the whole HTTP side, read back by the official client."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from models.errors import ContextLengthExceeded
from server.chat.thinking import Thinking
from server.engine.events import Failure, Started
from server.ipc.messages import Generate
from server.responses.schemas import ResponsesRequest
from tests.server.http_client import error_of, serving
from tests.server.responses.clients import http_of, keeping_app, named_events, sdk_of
from tests.server.routes.test_fuzz import ANYTHING, SMALL, bodies, run
from tests.server.scripted_answers import HERMES_THINKING, answers, call, chat_of, turns
from tests.server.scripted_service import ScriptedService, says

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Tell the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
THINKS_AND_CALLS = "<think>Where?</think>I look." + call("weather", {"city": "Köln"})


async def post(service: ScriptedService, body: dict[str, Any], folder: Path | None = None) -> Any:
    async with http_of(keeping_app(service, folder)) as client:
        return await client.post("/v1/responses", json={"model": "demo", **body})


async def test_a_whole_response(tmp_path: Path) -> None:
    async with sdk_of(keeping_app(ScriptedService(), tmp_path)) as client:
        response = await client.responses.create(model="demo", input="Hi", instructions="Be brief.")
    assert response.output_text == "Hello world"
    assert response.status == "completed"
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.usage.input_tokens_details.cached_tokens == 3
    assert response.id.startswith("resp_")
    assert response.output[0].id is not None
    assert response.output[0].id.startswith("msg_")


async def test_what_the_worker_is_asked() -> None:
    service = ScriptedService()
    items = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Rules."}]},
        {"role": "user", "content": "Weather?", "id": "msg_1"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
        },
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_2",
            "status": "completed",
            "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "c1",
            "name": "weather",
            "arguments": '{"city": "Köln"}',
        },
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "rain"}]},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "And"}, {"type": "input_text", "text": "now?"}],
        },
    ]
    body = {
        "input": items,
        "instructions": "Be brief.",
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "max_output_tokens": 50,
        "temperature": 0.5,
        "reasoning": {"effort": "low", "summary": "auto"},
    }
    response = await post(service, body)
    assert response.status_code == 200, response.text
    prompt = chat_of(service.request)
    assert prompt.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Rules."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
                }
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1", "name": "weather"},
        {"role": "user", "content": "And\nnow?"},
    ]
    assert [tool.name for tool in prompt.tools] == ["weather"]
    assert (prompt.tool_choice.mode, prompt.tool_choice.names) == ("required", ("weather",))
    assert prompt.tool_choice.parallel is False
    assert prompt.thinking.effort == "low"
    assert service.request.params.max_tokens == 50
    assert set(service.request.given) == {"max_tokens", "temperature"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"thinking_budget_tokens": 50}, Thinking(budget_tokens=50)),
        ({"reasoning_budget_tokens": 50}, Thinking(budget_tokens=50)),
        ({"reasoning_budget": 50}, Thinking(budget_tokens=50)),
        ({"thinking_budget_tokens": -1, "reasoning": {"max_tokens": 9}}, Thinking()),
        ({"thinking_budget_tokens": 0}, Thinking(budget_tokens=0)),
        (
            {"thinking_budget_tokens": 50, "reasoning": {"effort": "low"}},
            Thinking(effort="low", budget_tokens=50),
        ),
        ({"reasoning": {"max_tokens": 50}}, Thinking(budget_tokens=50)),
        ({"reasoning": {"effort": "none"}}, Thinking(enabled=False)),
        ({"reasoning": {"effort": "none"}, "enable_thinking": True}, Thinking(enabled=True)),
        ({"reasoning": {"enabled": False}}, Thinking(enabled=False)),
        ({"chat_template_kwargs": {"enable_thinking": False}}, Thinking(enabled=False)),
    ],
)
async def test_wishes_about_thoughts_are_those_of_chats(fields: dict[str, Any], expected: Thinking) -> None:
    service = ScriptedService(turns(answers("ok"), answers("ok")))
    async with http_of(keeping_app(service, None)) as client:
        response = await client.post("/v1/responses", json={"model": "demo", "input": "Hi", **fields})
        messages = [{"role": "user", "content": "Hi"}]
        chat = await client.post(
            "/v1/chat/completions", json={"model": "demo", "messages": messages, **fields}
        )
    assert (response.status_code, chat.status_code) == (200, 200)
    assert [chat_of(request).thinking for _, request in service.requests] == [expected] * 2


async def test_a_budget_that_is_none_is_refused() -> None:
    response = await post(ScriptedService(), {"input": "Hi", "thinking_budget_tokens": -2})
    assert response.status_code == 400
    assert error_of(response)["param"] == "thinking_budget_tokens"


async def test_the_events_of_a_stream() -> None:
    service = ScriptedService(answers(THINKS_AND_CALLS, HERMES_THINKING, reasoning_tokens=4))
    response = await post(service, {"input": "Hi", "stream": True, "tools": [WEATHER]})
    events = named_events(response.text)
    kinds = [event["type"] for event in events]
    once = [kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] != kind]
    assert once == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    final = events[-1]["response"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert final["output"] == done
    assert [item["type"] for item in done] == ["reasoning", "message", "function_call"]
    assert done[0]["content"] == [{"type": "reasoning_text", "text": "Where?"}]
    assert json.loads(done[2]["arguments"]) == {"city": "Köln"}
    assert len({item["id"] for item in done}) == 3
    assert final["usage"]["output_tokens_details"] == {"reasoning_tokens": 4}
    for index, kind in enumerate(("reasoning_text", "output_text", "function_call_arguments")):
        deltas = [event for event in events if event["type"] == f"response.{kind}.delta"]
        assert {(event["output_index"], event["item_id"]) for event in deltas} == {(index, done[index]["id"])}


async def test_a_stream_equals_the_whole() -> None:
    script = answers(THINKS_AND_CALLS, HERMES_THINKING)
    whole = (await post(ScriptedService(script), {"input": "Hi", "tools": [WEATHER]})).json()
    streamed = await post(ScriptedService(script), {"input": "Hi", "tools": [WEATHER], "stream": True})
    final = named_events(streamed.text)[-1]["response"]

    def plain(response: dict[str, Any]) -> Any:
        items = [{k: v for k, v in item.items() if k not in ("id", "call_id")} for item in response["output"]]
        return {**response, "id": "", "created_at": 0, "completed_at": 0, "output": items}

    assert plain(final) == plain(whole)


async def test_the_prompt_is_counted(tmp_path: Path) -> None:
    service = ScriptedService()
    async with sdk_of(keeping_app(service, tmp_path)) as client:
        short = await client.responses.input_tokens.count(model="demo", input="Hi")
        long = await client.responses.input_tokens.count(model="demo", input="Hi, you. " * 20_000)
        await client.responses.create(model="demo", input="Hi")
    assert short.input_tokens == long.input_tokens == 7  # as the script has it
    assert service.prompts[0] == chat_of(service.request)
    assert len(service.prompts[1].messages[0]["content"]) == 180_000


class City(BaseModel):
    city: str


async def test_the_official_client(tmp_path: Path) -> None:
    service = ScriptedService(
        turns(
            answers('{"city": "Köln"}'),
            answers(THINKS_AND_CALLS, HERMES_THINKING),
            answers('{"city": "Bonn"}', None),
        )
    )
    async with sdk_of(keeping_app(service, tmp_path)) as client:
        parsed = await client.responses.parse(model="demo", input="Where?", text_format=City)
        async with client.responses.stream(model="demo", input="Hi", tools=[WEATHER]) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        async with client.responses.stream(model="demo", input="Hi", text_format=City) as stream:
            async for _ in stream:
                pass
            streamed = await stream.get_final_response()
    assert parsed.output_parsed == City(city="Köln")
    first = service.requests[0][1]
    assert first.constraint is not None
    assert first.constraint.kind == "json_schema"
    assert json.loads(chat_of(first).response_schema or "") == json.loads(first.constraint.text)
    assert kinds[-1] == "response.completed"
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.output_text == "I look."
    assert streamed.output_parsed == City(city="Bonn")


async def test_a_loop_of_tools(tmp_path: Path) -> None:
    """The client sends the output back with its results, as SDKs do, and once by `previous_response_id`."""
    service = ScriptedService(
        turns(answers(THINKS_AND_CALLS, HERMES_THINKING), answers("It rains."), answers("It rains."))
    )
    async with sdk_of(keeping_app(service, tmp_path)) as client:
        first = await client.responses.create(model="demo", input="Weather?", tools=[WEATHER])
        (asked,) = [item for item in first.output if item.type == "function_call"]
        result: Any = {"type": "function_call_output", "call_id": asked.call_id, "output": "rain"}
        question: Any = {"role": "user", "content": "Weather?"}
        output: Any = [item.model_dump(exclude_none=True) for item in first.output]
        second = await client.responses.create(
            model="demo", input=[question, *output, result], tools=[WEATHER]
        )
        third = await client.responses.create(
            model="demo", input=[result], previous_response_id=first.id, tools=[WEATHER]
        )
    assert second.output_text == third.output_text == "It rains."
    sent = [chat_of(request).messages for _, request in service.requests]
    assert sent[1] == sent[2]
    assert sent[1][: len(sent[0])] == sent[0]
    assert sent[1][1]["reasoning_content"] == "Where?"
    assert sent[1][2]["content"] == "rain"


async def test_thoughts_come_back_in_encrypted_content() -> None:
    service = ScriptedService(turns(answers("<think>Deep.</think>Yes.", HERMES_THINKING), answers("ok")))
    body = {"input": "Hi", "store": False, "include": ["reasoning.encrypted_content"]}
    async with http_of(keeping_app(service, None)) as client:
        first = (await client.post("/v1/responses", json={"model": "demo", **body})).json()
        reasoning, message = first["output"]
        assert reasoning["encrypted_content"]
        del reasoning["content"]
        items = [{"role": "user", "content": "Hi"}, reasoning, message, {"role": "user", "content": "So?"}]
        await client.post("/v1/responses", json={"model": "demo", "input": items, "store": False})
    assert chat_of(service.requests[1][1]).messages[1] == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning_content": "Deep.",
    }


def codex_request() -> dict[str, Any]:
    """A request of Codex's shape: ids on all items, a long developer message, foreign tools."""
    exec_command = {
        "type": "function",
        "name": "exec_command",
        "description": "Run a command.",
        "strict": False,
        "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]},
    }
    agents = {
        "type": "namespace",
        "name": "agents",
        "description": "Other agents.",
        "tools": [{**exec_command, "name": "spawn"}, {**exec_command, "name": "exec_command"}],
    }
    return {
        "model": "demo",
        "stream": True,
        "store": False,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0198",
        "client_metadata": {"x": "y"},
        "tools": [exec_command, agents, {"type": "web_search", "external_web_access": False}],
        "input": [
            {
                "type": "message",
                "id": "msg_0",
                "role": "developer",
                "content": [{"type": "input_text", "text": "Rule. " * 2_900}],
            },
            {
                "type": "message",
                "id": "msg_1",
                "role": "user",
                "content": [{"type": "input_text", "text": "Fix it."}],
            },
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "call_1",
                "name": "spawn",
                "namespace": "agents",
                "arguments": '{"cmd":"x"}',
                "status": "completed",
            },
            {"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "done"},
        ],
    }


async def test_codex() -> None:
    service = ScriptedService(
        answers("ok" + call("agents__exec_command", {"cmd": "ls"}) + call("exec_command", {"cmd": "pwd"}))
    )
    async with http_of(keeping_app(service, None)) as client:
        response = await client.post("/v1/responses", json=codex_request())
    assert response.status_code == 200, response.text
    events = named_events(response.text)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    calls = [item for item in done if item["type"] == "function_call"]
    assert [(item["name"], item.get("namespace")) for item in calls] == [
        ("exec_command", "agents"),
        ("exec_command", None),
    ]
    assert len({item["call_id"] for item in calls}) == 2
    final = events[-1]["response"]
    assert [tool["type"] for tool in final["tools"]] == ["function", "namespace"]
    assert "web_search" in final["warnings"][0]
    prompt = chat_of(service.request)
    assert [tool.name for tool in prompt.tools] == ["exec_command", "agents__spawn", "agents__exec_command"]
    assert prompt.tools[1].description == "Other agents.\n\nRun a command."
    assert prompt.messages[2]["tool_calls"][0]["function"]["name"] == "agents__spawn"


async def test_free_text_tools() -> None:
    patch = {"type": "custom", "name": "patch", "description": "Apply a patch."}
    date = {
        "type": "custom",
        "name": "date",
        "format": {"type": "grammar", "syntax": "regex", "definition": "[0-9]+"},
    }
    lark = {
        "type": "custom",
        "name": "sum",
        "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
    }
    service = ScriptedService(answers(call("patch", {"input": 'a "b"\n'})))
    earlier = [
        {"role": "user", "content": "Go."},
        {"type": "custom_tool_call", "call_id": "c0", "name": "patch", "input": "x\n"},
        {"type": "custom_tool_call_output", "call_id": "c0", "output": "ok"},
    ]
    response = await post(service, {"input": earlier, "tools": [patch, date, lark], "stream": True})
    events = named_events(response.text)
    (item,) = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "patch", 'a "b"\n')
    deltas = [e["delta"] for e in events if e["type"] == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == 'a "b"\n'
    prompt = chat_of(service.request)
    assert [tool.name for tool in prompt.tools] == ["patch", "date"]
    assert prompt.tools[1].parameters["properties"]["input"]["pattern"] == "^(?:[0-9]+)$"
    assert json.loads(prompt.messages[1]["tool_calls"][0]["function"]["arguments"]) == {"input": "x\n"}
    assert "lark" in events[-1]["response"]["warnings"][0]


async def test_logprobs(tmp_path: Path) -> None:
    async with sdk_of(keeping_app(ScriptedService(says("Hé", "llo")), tmp_path)) as client:
        response = await client.responses.create(
            model="demo", input="Hi", include=["message.output_text.logprobs"], top_logprobs=2
        )
    (item,) = response.output
    assert item.type == "message"
    (part,) = item.content
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert [(entry.token, entry.logprob, len(entry.top_logprobs)) for entry in part.logprobs] == [
        ("Hé", -0.25, 2),
        ("llo", -0.5, 2),
    ]


@pytest.mark.parametrize("bound", [-1, 1, 1_000_000, 1 << 31, 1 << 62])
async def test_a_bound_of_any_size_is_a_bound(bound: int) -> None:
    service = ScriptedService(says("Hi"))
    assert (await post(service, {"input": "x", "max_output_tokens": bound})).status_code == 200
    expected = None if bound == -1 else min(bound, (1 << 31) - 1)
    assert service.requests[0][1].params.max_tokens == expected


async def test_a_warm_up_of_one_token() -> None:
    response = await post(ScriptedService(says("Hi", reason="length")), {"input": "", "max_output_tokens": 1})
    body = response.json()
    assert (response.status_code, body["status"]) == (200, "incomplete")
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["output"][0]["status"] == "incomplete"


async def test_a_call_that_the_limit_cuts_is_never_done() -> None:
    """Clients run a call at its `output_item.done`."""
    text = call("weather", {"city": "Köln"}).removesuffix('"}}\n</tool_call>')
    service = ScriptedService(answers(text, reason="length"))
    response = await post(service, {"input": "Hi", "tools": [WEATHER], "stream": True})
    events = named_events(response.text)
    kinds = {event["type"] for event in events}
    assert "response.output_item.done" not in kinds
    assert "response.function_call_arguments.done" not in kinds
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "dream"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"role": "user", "content": [{"type": "dream"}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "[1]"}]},
            "input[0].arguments",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{"}]},
            "input[0].arguments",
        ),
        ({"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "a", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "tools": [{"name": "a"}]}, "tools[0].type"),
        ({"input": "x", "tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"input": "x", "tools": [{**WEATHER, "parameters": 5}]}, "tools[0].parameters"),
        ({"input": "x", "tool_choice": "required"}, "tool_choice"),
        ({"input": "x", "tool_choice": "any"}, "tool_choice"),
        (
            {"input": "x", "tools": [WEATHER], "tool_choice": {"type": "function", "name": "b"}},
            "tool_choice.name",
        ),
        ({"input": "x", "tools": [WEATHER], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"input": "x", "text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"input": "x", "response_format": {"type": "json_object"}}, "response_format"),
        ({"input": "x", "grammar": 'root ::= "a"'}, "grammar"),
        ({"input": "x", "functions": [{"name": "f"}]}, "functions"),
        ({"input": "x", "n": 2}, "n"),
        ({"input": "x", "conversation": 5}, "conversation"),
        ({"input": "x", "tools": [{"type": "function", "function": {"name": "a"}}]}, "tools[0].name"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": "x", "background": True}, "background"),
        ({"input": "x", "prompt": {"id": "p"}}, "prompt"),
        ({"input": "x", "moderation": {"model": "m"}}, "moderation"),
        (
            {
                "input": [
                    {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "a", "output": "x"},
                    {"type": "function_call_output", "call_id": "a", "output": "x"},
                ]
            },
            "input[2].call_id",
        ),
        ({"input": "x", "top_logprobs": 3}, "top_logprobs"),
        ({"input": "x", "include": ["dreams"]}, "include[0]"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "temperature": -1.0}, "temperature"),
        ({"input": "x", "metadata": {"a": 1}}, "metadata.a"),
        ({"input": "x", "metadata": {"a": "b" * 513}}, "metadata"),
        ({"input": "x", "previous_response_id": "a", "conversation": "b"}, "previous_response_id"),
        ({"input": "x", "previous_response_id": "resp_a"}, "previous_response_id"),
        ({"input": "x", "conversation": "conv_a"}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "msg_a"}]}, "input[0].id"),
    ],
)
async def test_a_wrong_request(fields: dict[str, Any], param: str, tmp_path: Path) -> None:
    service = ScriptedService()
    response = await post(service, fields, tmp_path)
    assert response.status_code in (400, 404), response.text
    assert error_of(response)["param"] == param
    assert service.requests == []


async def test_what_other_servers_run_is_left_out_with_a_warning() -> None:
    service = ScriptedService()
    items = [
        {"role": "user", "content": "Hi"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "local_shell_call", "call_id": "a", "action": {}},
        {"type": "local_shell_call_output", "id": "a", "output": "x"},
    ]
    tools = [{"type": "mcp", "server_label": "x"}, {"type": "local_shell"}]
    response = await post(service, {"input": items, "tools": tools, "truncation": "auto"})
    body = response.json()
    assert response.status_code == 200
    assert [warning.partition(" ")[0] for warning in body["warnings"]] == [
        "tools[0]",
        "tools[1]",
        "input[1]",
        "input[2]",
        "input[3]",
    ]
    assert body["truncation"] == "auto"
    assert body["tools"] == []
    assert len(chat_of(service.request).messages) == 1


async def test_what_is_left_out_is_logged_once_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    lark = {"type": "grammar", "syntax": "lark", "definition": "x"}
    body = {
        "model": "demo",
        "input": [{"role": "user", "content": "Hi"}, {"type": "web_search_call", "id": "ws_1"}],
        "tools": [
            {"type": "web_search"},
            {"type": "mcp", "server_label": "x"},
            {"type": "mcp", "server_label": "y"},
            {"type": "custom", "name": "sum", "format": lark},
            {"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]},
            {**WEATHER, "wibble": 1},
        ],
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low", "mode": "pro", "context": "all_turns", "wobble": 1},
    }
    async with http_of(keeping_app(ScriptedService(), None)) as client:
        with caplog.at_level(logging.WARNING, "corral.http"):
            for _ in range(3):
                response = await client.post("/v1/responses", json=body)
                assert response.status_code == 200, response.text
    told = [record.getMessage().partition(" in /v1/responses") for record in caplog.records]
    assert [before + after for before, _, after in told] == [
        "ignored unknown field 'reasoning.wobble'",
        "'text.verbosity' has no effect on this server",
        "'reasoning.context' has no effect on this server",
        "'reasoning.mode' has no effect on this server",
        "'tools.type=web_search' has no effect on this server",
        "'tools.type=mcp' has no effect on this server",
        "'tools.format=lark' has no effect on this server",
        "'tools.wibble' has no effect on this server",
        "'input.type=web_search_call' has no effect on this server",
    ]
    assert len(response.json()["warnings"]) == 9


async def test_allowed_tools() -> None:
    service = ScriptedService()
    other = {**WEATHER, "name": "other"}
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]}
    await post(service, {"input": "x", "tools": [WEATHER, other], "tool_choice": choice})
    given = chat_of(service.request).tool_choice
    assert (given.mode, given.names) == ("required", ("other",))


async def test_a_prompt_that_is_too_long() -> None:
    service = ScriptedService(lambda _: [ContextLengthExceeded("too long")])
    response = await post(service, {"input": "Hi", "stream": True})
    assert response.status_code == 400
    error = error_of(response)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")


async def test_the_official_client_sees_the_failure(tmp_path: Path) -> None:
    service = ScriptedService(
        lambda request: [
            *says("a", "b")(request)[:3],
            Failure(id=request.id, kind="server_error", message="out of luck"),
        ]
    )
    async with sdk_of(keeping_app(service, tmp_path)) as client:
        stream = await client.responses.create(model="demo", input="Hi", stream=True)
        events: list[Any] = [event async for event in stream]
        assert events[-1].type == "response.failed"
        assert events[-1].response.error is not None
        assert events[-1].response.error.message == "out of luck"
        told: Any = events[-1].response
        assert told.store is False
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(told.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(events[-1].response.id)


async def test_a_silent_stream_has_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments wouldn't do: Codex counts the silence between events."""
    monkeypatch.setattr("server.http.stream_writer.HEADERS_AFTER_S", 0.02)

    def script(request: Any) -> list[Any]:
        started, *rest = says("a")(request)
        return [0.1, started, 0.1, *rest]

    async with http_of(keeping_app(ScriptedService(script), None, sse_comment_s=0.03)) as client:
        response = await client.post("/v1/responses", json={"model": "demo", "input": "Hi", "stream": True})
    kinds = [event["type"] for event in named_events(response.text)]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds.count("response.in_progress") >= 3
    assert kinds.count("response.created") == 1


async def test_a_web_socket_is_refused() -> None:
    app = keeping_app(ScriptedService(), None)
    async with serving(app) as url:
        address = url.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(
            b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert b" 426 " in status


# --- whatever comes -----------------------------------------------------------------------------------------

ITEMS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["message", "reasoning", "function_call", "function_call_output"])
            | ANYTHING
        },
        optional={
            "role": st.sampled_from(["user", "assistant", "system"]) | ANYTHING,
            "content": st.text(max_size=5) | ANYTHING,
            "id": ANYTHING,
            "call_id": st.just("a") | ANYTHING,
            "name": st.just("f") | ANYTHING,
            "arguments": st.just("{}") | ANYTHING,
            "output": st.just("x") | ANYTHING,
            "summary": ANYTHING,
            "encrypted_content": ANYTHING,
        },
    ),
    max_size=4,
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["function", "custom", "namespace", "mcp"]) | ANYTHING},
        optional={
            "name": st.just("f") | ANYTHING,
            "parameters": ANYTHING,
            "tools": ANYTHING,
            "format": ANYTHING,
        },
    ),
    max_size=3,
)


@SMALL
@given(
    bodies(
        {"input": st.just("Hi") | ITEMS | ANYTHING, "tools": st.just([]) | TOOLS},
        list(ResponsesRequest.model_fields),
    )
)
def test_whatever_comes_is_answered(body: dict[str, Any]) -> None:
    async def ask() -> None:
        with TemporaryDirectory() as folder:
            async with http_of(keeping_app(ScriptedService(), Path(folder))) as client:
                response = await client.post("/v1/responses", content=json.dumps(body).encode())
        if response.status_code != 200:
            assert response.status_code in (400, 404, 413)
            assert error_of(response)["type"] == "invalid_request_error"
        elif response.headers["content-type"].startswith("text/event-stream"):
            assert named_events(response.text)[-1]["type"] == "response.completed"
        else:
            assert response.json()["status"] == "completed"

    run(ask())


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_says_what_had_no_room(stream: bool) -> None:
    def script(request: Generate) -> list[Any]:
        started = Started(id=request.id, prompt_tokens=7, cached_tokens=3, n_left_out=1_200)
        return [started, *says("x")(request)[1:]]

    service = ScriptedService(script)
    response = await post(service, {"input": "Hi", "truncation": "auto", "stream": stream})
    body = named_events(response.text)[-1]["response"] if stream else response.json()
    assert body["truncation"] == "auto"
    (warning,) = body["warnings"]
    assert "1,200 messages" in warning
    assert chat_of(service.request).drops_oldest is True


@pytest.mark.parametrize("truncation", [None, "disabled"])
async def test_nothing_is_left_out_unless_a_client_wants_that(truncation: str | None) -> None:
    service = ScriptedService()
    body = (await post(service, {"input": "Hi", "truncation": truncation})).json()
    assert (body["truncation"], "warnings" in body) == ("disabled", False)
    assert chat_of(service.request).drops_oldest is False
