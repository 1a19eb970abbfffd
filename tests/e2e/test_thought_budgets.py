"""A budget of thoughts ends them in all three protocols, at the same token, and the answer goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from tests.e2e.running import RunningServer, environment, serving
from tests.e2e.test_second_turns import TEMPLATE

pytestmark = [pytest.mark.e2e, pytest.mark.model]

USER = {"role": "user", "content": "hello"}
MOST_CLOSING = 16
"""The closing mark has at most so many tokens here, with what a begun character needs."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("budgets")
    tiny = TinyModel(vocabulary="bpe", n_ctx_train=1024, chat_template=TEMPLATE)
    model = write_tiny_gguf(folder / "pico.gguf", tiny)
    with serving(str(model), "--parallel", "4", env=environment(folder), log=folder / "log") as running:
        yield running


def post(server: RunningServer, path: str, **body: Any) -> Any:
    body = {"model": "pico", "temperature": 0, **body}
    reply = httpx.post(f"{server.url}{path}", json=body, timeout=120)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize("budget", [1, 6, 40])
def test_the_same_budget_in_each_protocol(server: RunningServer, budget: int) -> None:
    limit = budget + 60
    chat = post(
        server,
        "/v1/chat/completions",
        messages=[USER],
        max_tokens=limit,
        thinking_budget_tokens=budget,
        enable_thinking=True,
    )
    response = post(
        server,
        "/v1/responses",
        input=[USER],
        max_output_tokens=limit,
        thinking_budget_tokens=budget,
        enable_thinking=True,
    )
    message = post(
        server,
        "/v1/messages",
        messages=[USER],
        max_tokens=limit,
        thinking={"type": "enabled", "budget_tokens": budget},
    )
    told = chat["choices"][0]["message"]
    thoughts, content = told.get("reasoning_content", ""), told["content"]
    assert content.strip(), "the answer goes on after its thoughts"
    n_thoughts = chat["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert budget <= n_thoughts <= budget + MOST_CLOSING
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == n_thoughts
    items = {item["type"]: item["content"][0]["text"] for item in response["output"]}
    assert (items.get("reasoning", ""), items["message"]) == (thoughts, content)
    blocks = {block["type"]: block for block in message["content"]}
    assert blocks["text"]["text"] == content
    assert blocks.get("thinking", {"thinking": ""})["thinking"] == thoughts
