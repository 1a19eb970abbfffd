"""The second turn of a long session computes little more than what is new in it, in all three protocols.

An answer with a constrained call is sent back as each protocol has it, with the tool's result behind it, and
then with a question more. The model has random weights: what it writes is nothing but what the grammar holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from tests.e2e.running import RunningServer, environment, serving

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(600)]

TEMPLATE = """
{%- if tools %}<|im_start|>system
{{ messages[0].content }}
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
Call by <tool_call>{"name": N, "arguments": A}</tool_call><|im_end|>
{% endif %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
{%- if m.role == 'user' %}<|im_start|>user
{{ m.content }}<|im_end|>
{% elif m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response><|im_end|>
{% elif m.role == 'assistant' %}<|im_start|>assistant
{% if loop.index0 > ns.last and m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content or '' }}
{%- for call in m.tool_calls or [] %}{% if m.content or not loop.first %}
{% endif %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking %}<think>
{% endif %}{% endif %}"""
"""The shape of Qwen3's: tools in the system text, thoughts only behind the last user's turn."""

PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Oslo", "Bern", "Rome"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "exact": {"type": "boolean"},
    },
    "required": ["city", "days", "exact"],
}
SYSTEM = "".join(f"{number}. The cat sat on the mat and said hello to the world.\n" for number in range(540))
RESULT = "31 degrees"
ENOUGH = 0.95


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("turns")
    tiny = TinyModel(
        vocabulary="bpe",
        n_layer=1,
        n_ff=256,
        n_head=2,
        n_head_kv=1,
        n_ctx_train=65_536,
        chat_template=TEMPLATE,
    )
    model = write_tiny_gguf(folder / "agent.gguf", tiny)
    options = (str(model), "--ctx", "65536", "--parallel", "2")
    with serving(*options, env=environment(folder), log=folder / "log") as running:
        yield running


def post(server: RunningServer, path: str, body: dict[str, Any]) -> dict[str, Any]:
    model = httpx.get(f"{server.url}/v1/models", timeout=60).json()["data"][0]["id"]
    body = {"model": model, "temperature": 0, **body}
    reply = httpx.post(f"{server.url}{path}", json=body, timeout=500)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


class ChatCompletions:
    """A session over `/v1/chat/completions`."""

    def __init__(self, server: RunningServer, thinks: bool) -> None:
        self._server = server
        self._messages: list[Any] = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": "How warm?"},
        ]
        self._thinking = {"thinking_budget_tokens": 6} if thinks else {"enable_thinking": False}

    def turn(self, calls: bool) -> tuple[int, int, int]:
        """Return the tokens of the prompt, how many of them were cached, and those of the answer."""
        function = {"name": "get_weather", "parameters": PARAMETERS}
        body = {
            "messages": self._messages,
            "tools": [{"type": "function", "function": function}],
            "tool_choice": "required" if calls else "none",
            "max_tokens": 200 if calls else 8,
            **self._thinking,
        }
        answer = post(self._server, "/v1/chat/completions", body)
        self._messages.append(answer["choices"][0]["message"])
        usage = answer["usage"]
        n_cached = usage["prompt_tokens_details"]["cached_tokens"]
        return usage["prompt_tokens"], n_cached, usage["completion_tokens"]

    def give_result(self) -> None:
        for call in self._messages[-1]["tool_calls"]:
            self._messages.append({"role": "tool", "tool_call_id": call["id"], "content": RESULT})

    def ask(self) -> None:
        self._messages.append({"role": "user", "content": "And tomorrow?"})


class Messages:
    """A session over `/v1/messages`."""

    def __init__(self, server: RunningServer, thinks: bool) -> None:
        self._server = server
        self._messages: list[Any] = [{"role": "user", "content": "How warm?"}]
        enabled = {"type": "enabled", "budget_tokens": 1024}
        self._thinking = {"thinking": enabled} if thinks else {"thinking": {"type": "disabled"}}

    def turn(self, calls: bool) -> tuple[int, int, int]:
        body = {
            "system": SYSTEM,
            "messages": self._messages,
            "tools": [{"name": "get_weather", "input_schema": PARAMETERS}],
            "tool_choice": {"type": "any" if calls else "none"},
            "max_tokens": 1500 if calls else 8,
            **self._thinking,
        }
        answer = post(self._server, "/v1/messages", body)
        self._messages.append({"role": "assistant", "content": answer["content"]})
        usage = answer["usage"]
        n_cached = usage["cache_read_input_tokens"]
        return usage["input_tokens"] + n_cached, n_cached, usage["output_tokens"]

    def give_result(self) -> None:
        ids = [part["id"] for part in self._messages[-1]["content"] if part["type"] == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": ident, "content": RESULT} for ident in ids]
        self._messages.append({"role": "user", "content": results})

    def ask(self) -> None:
        self._messages.append({"role": "user", "content": "And tomorrow?"})


class Responses:
    """A session over `/v1/responses` that sends all items, as Codex does."""

    def __init__(self, server: RunningServer, thinks: bool) -> None:
        self._server = server
        self._items: list[Any] = [{"role": "user", "content": "How warm?"}]
        self._thinking = {"thinking_budget_tokens": 6} if thinks else {"reasoning": {"effort": "none"}}

    def turn(self, calls: bool) -> tuple[int, int, int]:
        body = {
            "instructions": SYSTEM,
            "input": self._items,
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "tools": [{"type": "function", "name": "get_weather", "parameters": PARAMETERS}],
            "tool_choice": "required" if calls else "none",
            "max_output_tokens": 1500 if calls else 16,
            **self._thinking,
        }
        answer = post(self._server, "/v1/responses", body)
        self._items += answer["output"]
        usage = answer["usage"]
        return (
            usage["input_tokens"],
            usage["input_tokens_details"]["cached_tokens"],
            usage["output_tokens"],
        )

    def give_result(self) -> None:
        for item in [
            item for item in self._items if item["type" if "type" in item else "role"] == "function_call"
        ]:
            result = {"type": "function_call_output", "call_id": item["call_id"], "output": RESULT}
            self._items.append(result)

    def ask(self) -> None:
        self._items.append({"role": "user", "content": "And tomorrow?"})


@pytest.mark.parametrize("thinks", [False, True], ids=["plain", "thinks"])
@pytest.mark.parametrize("protocol", [ChatCompletions, Messages, Responses])
def test_a_second_turn_is_cached(server: RunningServer, protocol: Any, thinks: bool) -> None:
    session = protocol(server, thinks)
    n_prompt, _, n_answer = session.turn(calls=True)
    assert n_prompt > 19_000
    session.give_result()
    with_result = session.turn(calls=False)
    session.ask()
    with_question = session.turn(calls=False)
    print(json.dumps([protocol.__name__, thinks, n_prompt, n_answer, with_result, with_question]))
    for n_tokens, n_cached, _ in (with_result, with_question):
        assert n_cached >= ENOUGH * n_tokens
    # The answer is cached, too, up to its last token, which was never decoded.
    if not thinks:
        assert with_result[1] >= n_prompt + n_answer - 2
