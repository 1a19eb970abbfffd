"""The wishes of a client about thoughts: if, how hard, how long, and where they are shown. Pure.

The fields are OpenAI's (`reasoning_effort`), llama-server's (`reasoning_format`, with Groq's words too, and
`thinking_budget_tokens`), OpenRouter's (`reasoning`, `include_reasoning`) and those of several vendors
(`thinking`, `enable_thinking`).
"""

from __future__ import annotations

from typing import Any, Literal

from models.errors import RequestError
from server.chat.thinking import Thinking
from server.openai.requests.schemas import (
    ChatCompletionRequest,
    ReasoningWish,
    TemplateRequest,
    ThinkingRequest,
    ThinkingSwitch,
)

ThoughtForm = Literal["field", "content", "both", "hidden"]
"""`field`: thoughts are in a field of their own; `content`: in the content, with marks; `both`; `hidden`."""

_FORMS: dict[str, ThoughtForm] = {
    "auto": "field",
    "deepseek": "field",
    "none": "content",
    "deepseek-legacy": "both",
    "parsed": "field",
    "raw": "content",
    "hidden": "hidden",
}


def thinking(request: TemplateRequest) -> Thinking:
    """Return what a chat's request wants of thoughts."""
    return thinking_of(request, request.reasoning, effort=request.reasoning_effort, switch=request.thinking)


def thinking_of(
    request: ThinkingRequest,
    reasoning: ReasoningWish | None,
    *,
    effort: str | None = None,
    switch: ThinkingSwitch | None = None,
) -> Thinking:
    """Return what a request of either protocol wants of thoughts; `reasoning` is its object of that name.

    Of several fields the more special one counts: a template's own variable, then `enable_thinking`,
    `thinking` (the `switch`) and `reasoning`, and an effort of `none` last.
    """
    reasoning = reasoning or ReasoningWish()
    kwargs = request.chat_template_kwargs or {}
    effort = _first(kwargs.get("reasoning_effort"), effort, reasoning.effort)
    enabled = _first(
        kwargs.get("enable_thinking"),
        request.enable_thinking,
        None if switch is None else switch.type != "disabled",
        reasoning.enabled,
        False if effort == "none" else None,
    )
    budget = _first(
        request.thinking_budget_tokens,
        request.reasoning_budget_tokens,
        request.reasoning_budget,
        None if switch is None else switch.budget_tokens,
        reasoning.max_tokens,
    )
    return Thinking(
        enabled=enabled if isinstance(enabled, bool) else None,
        effort=effort if isinstance(effort, str) and effort != "none" else None,
        budget_tokens=None if budget in (None, -1) else budget,
    )


def thought_form(request: ChatCompletionRequest) -> ThoughtForm:
    """Return where the answer shows its thoughts. Raises RequestError for fields that contradict."""
    form = _FORMS[request.reasoning_format or "auto"]
    excluded = request.reasoning is not None and request.reasoning.exclude is True
    if request.include_reasoning is not False and not excluded:
        return form
    if form in ("content", "both"):
        raise RequestError(
            f"'reasoning_format' is {request.reasoning_format!r}, which shows thoughts, and another field "
            "hides them; leave one of them out",
            param="reasoning_format",
        )
    return "hidden"


def wants_reasoning_field(request: ChatCompletionRequest) -> bool:
    """Return True if thoughts come as `reasoning`, too: for those who know OpenRouter's fields."""
    return request.include_reasoning is True or request.reasoning is not None


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
