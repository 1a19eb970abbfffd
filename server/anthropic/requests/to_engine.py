"""Validated requests of Anthropic's API → the engine's messages, and the form of the answer. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from models.errors import RequestError
from server.anthropic.requests import refusals
from server.anthropic.requests.history import conversation
from server.anthropic.requests.schemas import (
    CountTokensRequest,
    MessagesRequest,
    OutputFormat,
)
from server.anthropic.requests.tools import choice_of, is_skipped, tools_of, unread_fields
from server.chat.response_schemas import schema_text
from server.chat.thinking import Thinking
from server.chat.tool_definitions import invalid
from server.chat.tools import Tool
from server.ipc.constraint import Constraint
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from server.openai.requests.checks import check_template_kwargs
from server.openai.requests.reasoning import thinking_of
from server.openai.requests.response_formats import refuse_elsewhere
from server.openai.requests.schemas import ReasoningWish
from server.openai.requests.to_engine import given_sampling, sampling_params

_EFFORTS = {"xhigh": "high", "max": "high"}
"""Chat templates know no effort above `high`."""


class MessageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The form of an answer of `/v1/messages`."""

    tools: tuple[Tool, ...] = ()
    """The tools that the answer may call."""
    stop_sequences: tuple[str, ...] = ()
    shows_thoughts: bool = True
    """If false, thinking blocks have no text, only a signature."""


def chat_prompt(request: CountTokensRequest) -> ChatPrompt:
    """Return the prompt, the same for both routes. Raises RequestError for what can't be served."""
    _refuse_unserved(request)
    chat = conversation(request.system, request.messages)
    tools = tools_of(request.tools, chat.referenced_tools)
    schema, format_path = _format(request)
    if schema is not None:
        refusals.check_numbers(schema.json_schema, format_path)
    check_template_kwargs(request.chat_template_kwargs or {})
    return ChatPrompt(
        messages=chat.messages,
        tools=tools,
        tool_choice=choice_of(request.tool_choice, tools),
        thinking=_thinking(request),
        prompt_format=request.prompt_format or None,
        chat_template_kwargs=dict(request.chat_template_kwargs or {}),
        response_schema=None if schema is None else schema_text(schema.json_schema),
        images=tuple(chat.images.found),
        image_mark=chat.images.mark,
    )


def from_messages(
    request: MessagesRequest, request_id: str, timeout_s: float | None = None
) -> tuple[Generate, MessageOptions]:
    """Return the message to the engine. Raises RequestError for what can't be served."""
    if (request.n or 1) != 1:
        raise invalid("n", f"it is {request.n}; a message has one answer, leave it out")
    if request.compaction is not None:
        raise refusals.unsupported("compaction", "a summary in place of an answer", "ask for it in a message")
    prompt = chat_prompt(request)
    given = given_sampling(request)
    stops = tuple(dict.fromkeys((*request.stop_sequences, *request.stop)))
    if stops:
        given["stop"] = stops
    options = MessageOptions(
        tools=tuple(prompt.tool_choice.callable_tools(prompt.tools)),
        stop_sequences=stops,
        shows_thoughts=request.thinking is None or request.thinking.display != "omitted",
    )
    generate = Generate(
        id=request_id,
        prompt=prompt,
        params=sampling_params(given),
        given=tuple(given),
        timeout_s=timeout_s,
        constraint=_constraint(request),
        keep_alive_s=request.keep_alive,
    )
    return generate, options


def without_effect(request: CountTokensRequest) -> Iterator[str]:
    """Yield words for the log about what the request asks for in vain."""
    for name in ("context_management", "diagnostics"):
        if getattr(request, name, None) is not None:
            yield name
    for part in request.tools or ():
        if is_skipped(part):
            yield f"tools.type={part['type']}"
        else:
            yield from (f"tools.{field}" for field in unread_fields(part))


def _refuse_unserved(request: CountTokensRequest) -> None:
    if request.mcp_servers not in (None, []):
        raise refusals.unsupported("mcp_servers", "a connection to MCP servers", "let the client connect")
    if request.container is not None:
        raise refusals.unsupported("container", "code execution", "leave it out")
    if request.thread is not None:
        raise refusals.unsupported("thread", "a conversation that the server holds", "send all messages")
    refuse_elsewhere(request, "output_config.format")


def _thinking(request: CountTokensRequest) -> Thinking:
    """Return the wish for thoughts; without a word about them they are as the template has them."""
    config, output = request.thinking, request.output_config
    effort = None if output is None or output.effort is None else _EFFORTS.get(output.effort, output.effort)
    if config is None:
        wish = ReasoningWish(effort=effort)
    elif config.type == "disabled":
        wish = ReasoningWish(enabled=False)
    elif config.type == "enabled" and config.budget_tokens is None:
        raise RequestError(
            "Missing required parameter: 'thinking.budget_tokens'; or set 'thinking.type' to 'adaptive'",
            param="thinking.budget_tokens",
            code="missing_required_parameter",
        )
    else:
        wish = ReasoningWish(enabled=True, effort=effort, max_tokens=config.budget_tokens)
    return thinking_of(request, wish, effort=request.reasoning_effort)


def _format(request: CountTokensRequest) -> tuple[OutputFormat | None, str]:
    """Return the form that the answer's text is to have, and the name of its schema's field."""
    config = request.output_config
    if config is None or config.format is None:
        return request.output_format, "output_format.schema"
    if request.output_format not in (None, config.format):
        raise invalid("output_format", "'output_config.format' is another one; leave one of them out")
    return config.format, "output_config.format.schema"


def _constraint(request: CountTokensRequest) -> Constraint | None:
    schema, path = _format(request)
    if schema is None:
        return None
    return Constraint(kind="json_schema", text=msgspec.json.encode(schema.json_schema).decode(), param=path)
