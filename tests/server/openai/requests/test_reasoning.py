from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.thinking import Thinking
from server.openai.requests.reasoning import thinking, thought_form, wants_reasoning_field
from server.openai.requests.schemas import ChatCompletionRequest


def request(**fields: Any) -> ChatCompletionRequest:
    body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    return ChatCompletionRequest.model_validate_json(json.dumps(body))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Thinking()),
        ({"reasoning_effort": "high"}, Thinking(effort="high")),
        ({"reasoning_effort": "none"}, Thinking(enabled=False)),
        ({"reasoning": {"effort": "low"}}, Thinking(effort="low")),
        ({"reasoning": {"enabled": True, "max_tokens": 9}}, Thinking(enabled=True, budget_tokens=9)),
        ({"reasoning": {"effort": "none"}}, Thinking(enabled=False)),
        ({"enable_thinking": False}, Thinking(enabled=False)),
        ({"enable_thinking": True, "reasoning_effort": "none"}, Thinking(enabled=True)),
        ({"chat_template_kwargs": {"enable_thinking": False}}, Thinking(enabled=False)),
        (
            {"chat_template_kwargs": {"enable_thinking": False}, "enable_thinking": True},
            Thinking(enabled=False),
        ),
        ({"chat_template_kwargs": {"enable_thinking": "x", "reasoning_effort": 5}}, Thinking()),
        ({"thinking": {"type": "disabled"}}, Thinking(enabled=False)),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 100}},
            Thinking(enabled=True, budget_tokens=100),
        ),
        ({"thinking_budget_tokens": 0}, Thinking(budget_tokens=0)),
        ({"thinking_budget_tokens": -1}, Thinking()),
        ({"thinking_budget_tokens": 1 << 40}, Thinking(budget_tokens=(1 << 31) - 1)),
        ({"reasoning_budget_tokens": 5}, Thinking(budget_tokens=5)),
        ({"reasoning_budget": 5}, Thinking(budget_tokens=5)),
        ({"thinking_budget_tokens": 4, "reasoning_budget": 5}, Thinking(budget_tokens=4)),
    ],
)
def test_thinking(fields: dict[str, Any], expected: Thinking) -> None:
    assert thinking(request(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "form", "reasoning_field"),
    [
        ({}, "field", False),
        ({"reasoning_format": None}, "field", False),
        ({"reasoning_format": "none"}, "content", False),
        ({"reasoning_format": "raw"}, "content", False),
        ({"reasoning_format": "parsed"}, "field", False),
        ({"reasoning_format": "hidden"}, "hidden", False),
        ({"reasoning_format": "deepseek-legacy"}, "both", False),
        ({"include_reasoning": True}, "field", True),
        ({"include_reasoning": False}, "hidden", False),
        ({"reasoning": {"effort": "low"}}, "field", True),
        ({"reasoning": {"exclude": True}}, "hidden", True),
        ({"reasoning_format": "hidden", "include_reasoning": False}, "hidden", False),
    ],
)
def test_where_thoughts_are_shown(fields: dict[str, Any], form: str, reasoning_field: bool) -> None:
    assert thought_form(request(**fields)) == form
    assert wants_reasoning_field(request(**fields)) is reasoning_field


@pytest.mark.parametrize("form", ["none", "deepseek-legacy"])
@pytest.mark.parametrize("hiding", [{"include_reasoning": False}, {"reasoning": {"exclude": True}}])
def test_thoughts_are_shown_or_hidden(form: str, hiding: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=form) as caught:
        thought_form(request(reasoning_format=form, **hiding))
    assert caught.value.param == "reasoning_format"
