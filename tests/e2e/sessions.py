"""Sessions of an agent in all three protocols: a tool is called, its result sent back, and a question more.

Each answer goes back as its protocol has it. `Turn` says what a server counted of one.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.running import RunningServer

RESULT = "31 degrees"
DESCRIPTION = "Get the weather."
BUDGET = 20
"""Thoughts end after so many tokens, their opening mark's included."""


def post(server: RunningServer, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the server's answer to a body; one that names no model is the only one's."""
    if "model" not in body:
        models = httpx.get(f"{server.url}/v1/models", timeout=60).json()["data"]
        body = {"model": models[0]["id"], **body}
    reply = httpx.post(f"{server.url}{path}", json={"temperature": 0, **body}, timeout=500)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


@dataclass(frozen=True, slots=True)
class Turn:
    """The tokens of a prompt, how many of them were cached, those of the answer, and what is in it."""

    n_prompt: int
    n_cached: int
    n_answer: int
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    thoughts: str = ""
    content: str = ""
    n_thoughts: int = 0
    """The tokens of the thoughts, as far as the protocol tells them."""


class Session(ABC):
    """The server, the tool's parameters, the system's text, and what is the same in all bodies (`more`)."""

    def __init__(
        self,
        server: RunningServer,
        parameters: Mapping[str, Any],
        *,
        system: str,
        thinks: bool,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self._server = server
        self._parameters = parameters
        self._system = system
        self._thinks = thinks
        self._more = dict(more or {})
        self.sent: list[Any] = []
        """The messages, or items, so far."""

    @abstractmethod
    def turn(self, *, calls: bool) -> Turn:
        """Ask for the next answer, a call or none, and keep it for the next body."""

    @abstractmethod
    def give_result(self) -> None:
        """Add the results of the last answer's calls."""

    def ask(self, question: str = "And tomorrow?") -> None:
        self.sent.append({"role": "user", "content": question})


class ChatCompletions(Session):
    """A session over `/v1/chat/completions`."""

    def body(self) -> dict[str, Any]:
        """Return what asks for the next answer, but for whether it calls."""
        function = {"name": "get_weather", "description": DESCRIPTION, "parameters": self._parameters}
        thinking: dict[str, Any] = {"enable_thinking": self._thinks}
        if self._thinks:
            thinking["thinking_budget_tokens"] = BUDGET
        messages = [{"role": "system", "content": self._system}, *self.sent]
        tools = [{"type": "function", "function": function}]
        return {"messages": messages, "tools": tools, **thinking, **self._more}

    def turn(self, *, calls: bool) -> Turn:
        choice = {"tool_choice": "required" if calls else "none", "max_tokens": 200 if calls else 8}
        answer = post(self._server, "/v1/chat/completions", {**self.body(), **choice})
        message = answer["choices"][0]["message"]
        self.sent.append(message)
        made = [call["function"] for call in message.get("tool_calls") or []]
        return Turn(
            answer["usage"]["prompt_tokens"],
            answer["usage"]["prompt_tokens_details"]["cached_tokens"],
            answer["usage"]["completion_tokens"],
            [(call["name"], json.loads(call["arguments"])) for call in made],
            message.get("reasoning_content") or "",
            message.get("content") or "",
            answer["usage"]["completion_tokens_details"]["reasoning_tokens"],
        )

    def give_result(self) -> None:
        for call in self.sent[-1]["tool_calls"]:
            self.sent.append({"role": "tool", "tool_call_id": call["id"], "content": RESULT})


class Messages(Session):
    """A session over `/v1/messages`."""

    def turn(self, *, calls: bool) -> Turn:
        tool = {"name": "get_weather", "description": DESCRIPTION, "input_schema": self._parameters}
        enabled = {"type": "enabled", "budget_tokens": BUDGET}
        body = {
            "system": self._system,
            "messages": self.sent,
            "tools": [tool],
            "tool_choice": {"type": "any" if calls else "none"},
            "max_tokens": 300 if calls else 8,
            "thinking": enabled if self._thinks else {"type": "disabled"},
            **self._more,
        }
        answer = post(self._server, "/v1/messages", body)
        self.sent.append({"role": "assistant", "content": answer["content"]})
        parts: list[dict[str, Any]] = answer["content"]
        n_cached = answer["usage"]["cache_read_input_tokens"]
        return Turn(
            answer["usage"]["input_tokens"] + n_cached,
            n_cached,
            answer["usage"]["output_tokens"],
            [(part["name"], part["input"]) for part in parts if part["type"] == "tool_use"],
            "".join(part["thinking"] for part in parts if part["type"] == "thinking"),
            "".join(part["text"] for part in parts if part["type"] == "text"),
        )

    def give_result(self) -> None:
        ids = [part["id"] for part in self.sent[-1]["content"] if part["type"] == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": ident, "content": RESULT} for ident in ids]
        self.sent.append({"role": "user", "content": results})


class Responses(Session):
    """A session over `/v1/responses` that sends all items, as Codex does."""

    def turn(self, *, calls: bool) -> Turn:
        tool = {"type": "function", "name": "get_weather", "description": DESCRIPTION}
        thinking: dict[str, Any] = {"reasoning": {"effort": "none"}}
        if self._thinks:
            thinking = {"thinking_budget_tokens": BUDGET, "enable_thinking": True}
        body = {
            "instructions": self._system,
            "input": self.sent,
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "tools": [{**tool, "parameters": self._parameters}],
            "tool_choice": "required" if calls else "none",
            "max_output_tokens": 300 if calls else 16,
            **thinking,
            **self._more,
        }
        answer = post(self._server, "/v1/responses", body)
        items: list[dict[str, Any]] = answer["output"]
        self.sent += items
        texts = {
            kind: "".join(
                part["text"] for item in items if item["type"] == kind for part in item.get("content") or []
            )
            for kind in ("reasoning", "message")
        }
        return Turn(
            answer["usage"]["input_tokens"],
            answer["usage"]["input_tokens_details"]["cached_tokens"],
            answer["usage"]["output_tokens"],
            [
                (item["name"], json.loads(item["arguments"]))
                for item in items
                if item["type"] == "function_call"
            ],
            texts["reasoning"],
            texts["message"],
            answer["usage"]["output_tokens_details"]["reasoning_tokens"],
        )

    def give_result(self) -> None:
        answered = {item["call_id"] for item in self.sent if item.get("type") == "function_call_output"}
        calls = [item["call_id"] for item in self.sent if item.get("type") == "function_call"]
        for call_id in [call_id for call_id in calls if call_id not in answered]:
            result = {"type": "function_call_output", "call_id": call_id, "output": RESULT}
            self.sent.append(result)


PROTOCOLS = (ChatCompletions, Messages, Responses)
