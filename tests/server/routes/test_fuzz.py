"""Whatever JSON comes, the answer is a 200 or an error in OpenAI's form; never a 500, never another body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.openai.requests.schemas import ChatCompletionRequest, CompletionRequest
from tests.server.http_client import client_for, error_of, events_of

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 10)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "demo", "user", "text", "auto", "alpaca", "-1", "5"])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
FUNCTIONS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["f", "g"]) | ANYTHING,
        "arguments": st.sampled_from(["{}", "", '{"a": 1}']) | ANYTHING,
        "parameters": st.just({"type": "object"}) | ANYTHING,
        "strict": ANYTHING,
    },
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a", "b"]) | ANYTHING,
        "type": st.just("function") | ANYTHING,
        "function": FUNCTIONS | ANYTHING,
    },
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "tool_use", "image_url"]) | ANYTHING},
    optional={"text": ANYTHING, "thinking": ANYTHING, "id": ANYTHING, "name": ANYTHING, "input": ANYTHING},
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant", "tool", "developer", "function"])
            | ANYTHING
        },
        optional={
            "content": st.text(max_size=10) | st.lists(PARTS, max_size=3) | ANYTHING,
            "name": ANYTHING,
            "tool_calls": st.lists(CALLS, max_size=3) | ANYTHING,
            "function_call": FUNCTIONS | ANYTHING,
            "tool_call_id": st.sampled_from(["a", "b"]) | ANYTHING,
        },
    ),
    max_size=4,
)
TOOLS: dict[str, st.SearchStrategy[Any]] = {
    "messages": st.just([{"role": "user", "content": "Hi"}]),
    "tools": st.lists(CALLS, max_size=3) | ANYTHING,
    "tool_choice": CALLS | st.sampled_from(["auto", "required", "none"]) | ANYTHING,
}
SMALL = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def bodies(valid: dict[str, st.SearchStrategy[Any]], fields: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Mostly valid bodies, of which a few fields are wild."""
    wild = st.dictionaries(st.sampled_from(fields) | st.text(max_size=10), ANYTHING, max_size=3)
    return st.builds(lambda body, extra: {**body, **extra}, st.fixed_dictionaries(valid), wild)


def run(check: Coroutine[Any, Any, None]) -> None:
    asyncio.run(check)


async def ask(path: str, body: bytes) -> None:
    async with client_for() as client:
        response = await client.post(path, content=body)
    if response.status_code != 200:
        assert response.status_code in (400, 404, 413)
        assert error_of(response)["type"] == "invalid_request_error"
    elif response.headers["content-type"].startswith("text/event-stream"):
        assert events_of(response.text)[-1] == "[DONE]"
    else:
        assert isinstance(response.json(), dict)


@SMALL
@given(bodies({"messages": MESSAGES}, list(ChatCompletionRequest.model_fields)))
def test_chat(body: dict[str, Any]) -> None:
    run(ask("/v1/chat/completions", json.dumps(body).encode()))


@SMALL
@given(bodies(TOOLS, ["functions", "function_call", "reasoning", "thinking", "reasoning_format"]))
def test_tools(body: dict[str, Any]) -> None:
    run(ask("/v1/chat/completions", json.dumps(body).encode()))


@SMALL
@given(bodies({"prompt": st.text(max_size=5) | ANYTHING}, list(CompletionRequest.model_fields)))
def test_completions(body: dict[str, Any]) -> None:
    run(ask("/v1/completions", json.dumps(body).encode()))


@SMALL
@given(
    st.sampled_from(["/tokenize", "/detokenize", "/apply-template"]),
    bodies({}, ["content", "prompt", "tokens", "messages", "with_pieces", "add_special", "model"]),
)
def test_tokens(path: str, body: dict[str, Any]) -> None:
    run(ask(path, json.dumps(body).encode()))


@SMALL
@given(st.sampled_from(["/v1/chat/completions", "/v1/completions", "/tokenize"]), st.binary(max_size=200))
def test_bytes(path: str, body: bytes) -> None:
    run(ask(path, body))


@SMALL
@given(st.sampled_from(["/v1/models/", "/", "/v1/", "/tokenizer_info?model="]), st.text(max_size=20))
def test_paths(start: str, rest: str) -> None:
    async def check() -> None:
        async with client_for() as client:
            response = await client.get(start + quote(rest))
        if response.status_code != 200:
            assert response.status_code in (404, 405)
            error_of(response)

    run(check())
