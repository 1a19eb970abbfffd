"""Whatever JSON comes, the answer is a 200 or an error in Anthropic's form; never a 500."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.anthropic.requests.schemas import CountTokensRequest, MessagesRequest
from tests.server.http_client import client_for
from tests.server.routes.test_fuzz import ANYTHING, SMALL, bodies
from tests.server.routes.test_messages import error_of, events_of

KINDS = ["text", "thinking", "redacted_thinking", "tool_use", "tool_result", "tool_reference", "image", "x"]
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS) | ANYTHING},
    optional={
        "text": st.text(max_size=9) | ANYTHING,
        "thinking": st.text(max_size=9) | ANYTHING,
        "signature": st.sampled_from(["", "x", "corral-t2-", "corral-t2-eJw="]) | ANYTHING,
        "id": st.sampled_from("ab") | ANYTHING,
        "name": st.sampled_from("ab") | ANYTHING,
        "input": st.dictionaries(st.text(max_size=3), ANYTHING, max_size=2) | ANYTHING,
        "tool_use_id": st.sampled_from("ab") | ANYTHING,
        "content": st.text(max_size=9) | ANYTHING,
        "is_error": st.booleans() | ANYTHING,
    },
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]) | ANYTHING,
        "content": st.text(max_size=9) | st.lists(PART, max_size=4) | ANYTHING,
    }
)
TOOL = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from("ab") | ANYTHING,
        "type": st.sampled_from(["custom", "web_search_20250305", "bash_20250124"]) | ANYTHING,
        "input_schema": st.just({"type": "object"}) | ANYTHING,
        "defer_loading": ANYTHING,
        "description": ANYTHING,
    },
)
VALID: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.integers(1, 5),
    "messages": st.lists(MESSAGE, min_size=1, max_size=4),
    "tools": st.lists(TOOL, max_size=2),
    "stream": st.booleans(),
}


async def ask(path: str, body: bytes) -> None:
    async with client_for() as client:
        response = await client.post(path, content=body)
    if response.status_code != 200:
        kinds = {400: "invalid_request_error", 404: "not_found_error", 413: "request_too_large"}
        assert error_of(response, kinds[response.status_code])
    elif response.headers["content-type"].startswith("text/event-stream"):
        assert events_of(response.text)[-1] == {"type": "message_stop"}
    else:
        assert isinstance(response.json(), dict)


@given(bodies(VALID, list(MessagesRequest.model_fields)))
@SMALL
def test_messages(body: dict[str, Any]) -> None:
    asyncio.run(ask("/v1/messages", json.dumps(body).encode()))


@given(bodies(VALID, list(CountTokensRequest.model_fields)))
@SMALL
def test_counts(body: dict[str, Any]) -> None:
    asyncio.run(ask("/v1/messages/count_tokens", json.dumps(body).encode()))
