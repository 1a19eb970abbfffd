"""`read_response`: a Responses request as the engine's message, and what its answer must know. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from pydantic import BaseModel

from models.errors import RequestError
from server.chat.images import ChatImages
from server.chat.response_schemas import schema_text
from server.chat.tools import Tool
from server.engine.sampling_params import SamplingParams
from server.ipc.constraint import Constraint
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from server.openai.requests.reasoning import thinking_of
from server.openai.requests.response_formats import refuse_elsewhere
from server.openai.requests.schemas import for_the_log
from server.presets.table import Choice
from server.responses.echo import echo
from server.responses.identity import new_item_id
from server.responses.items import SKIPPED, check_numbers, item_type, messages_of
from server.responses.schemas import ResponsesRequest
from server.responses.tools import ToolName, ToolTable, tool_choice, tool_table

_SAMPLING = (
    "temperature",
    "top_p",
    "seed",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repeat_penalty",
)
_MOST_WARNINGS = 20
_ID_CHARS = 256
LOGPROBS = "message.output_text.logprobs"
SEALED_THOUGHTS = "reasoning.encrypted_content"


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The kept part of a request, as JSON: the items before it, and those that it names by their ids."""

    items: list[bytes] = []
    references: dict[str, bytes] = {}


class HistoryWanted(msgspec.Struct, frozen=True, kw_only=True, tag="history_wanted"):
    """A request that can only be read together with these, which the store has."""

    previous_response_id: str | None = None
    conversation: str | None = None
    references: list[str] = []


class ResponseForm(msgspec.Struct, frozen=True, kw_only=True):
    """All that an answer needs to know of its request."""

    echo: bytes
    """The fields of the response that repeat the request: the inside of a JSON object."""
    tools: tuple[Tool, ...] = ()
    """The tools that the answer may call, as the model sees them."""
    names: dict[str, ToolName] = {}
    """The wire's names of the tools."""
    logprobs: bool = False
    seals_thoughts: bool = False
    """True if reasoning items have `encrypted_content`."""
    store: bool = True
    """True unless the client doesn't want the response to be kept."""
    previous_response_id: str | None = None
    conversation: str | None = None
    input_items: list[bytes] = []
    """The items of the input as JSON, each with an id, as the store keeps them."""
    warnings: list[str] = []
    timings: bool = False
    """True if a stream's events have timings."""


class ResponseRead(msgspec.Struct, frozen=True, kw_only=True, tag="response"):
    """A request for a response."""

    model: str | None
    choice: Choice | None = None
    unknown: list[str]
    """The names of fields that no schema knows, the first of them and cut."""
    without_effect: list[str] = []
    """The names of what is known, and does less than a client may think: each has a warning in the answer."""
    stream: bool
    form: ResponseForm
    generates: list[Generate]
    """The one message to the engine."""


def read_response(
    request: ResponsesRequest,
    unknown: list[str],
    request_id: str,
    timeout_s: float | None = None,
    history: History | None = None,
) -> ResponseRead | HistoryWanted:
    """Return the request as it is to be run, or the state that is wanted first. Raises RequestError."""
    _refuse(request)
    given = _items(request)
    wanted = _wanted(request, given)
    if wanted is not None and history is None:
        return wanted
    known, given = _with_history(history or History(), given)
    known_as = "conversation" if request.conversation_id else "previous_response_id"
    images = ChatImages()
    messages, warnings = messages_of([*known, *given], len(known), known_as=known_as, images=images)
    if request.instructions:
        messages.insert(0, {"role": "system", "content": request.instructions})
    if not messages:
        raise RequestError(
            "'input' has nothing that the model could answer; send text or a message", param="input"
        )
    _check_numbers(request)
    table = tool_table(request.tools)
    vain = _without_effect(request)
    warnings = [
        *table.warnings,
        *warnings,
        *(f"{name} has no effect here; {fix}" for name, fix in vain.items()),
    ]
    kinds = (item_type(item) for item in (*known, *given))
    if len(warnings) > _MOST_WARNINGS:
        n_more = len(warnings) - _MOST_WARNINGS
        warnings = [*warnings[:_MOST_WARNINGS], f"and {n_more:,} more of this kind"]
    sampling = _sampling(request)
    repeated, is_all = echo(request, table)
    if not is_all:
        warnings.append("the request's fields are too long to be repeated in the response")
    prompt = _prompt(request, messages, table, images)
    form = ResponseForm(
        echo=repeated,
        tools=tuple(prompt.tool_choice.callable_tools(table.tools)),
        names=table.names,
        logprobs=LOGPROBS in (request.include or ()),
        seals_thoughts=SEALED_THOUGHTS in (request.include or ()),
        store=request.store is not False,
        previous_response_id=request.previous_response_id,
        conversation=request.conversation_id,
        input_items=[kept_item(item) for item in given] if _is_kept(request) else [],
        warnings=warnings,
        timings=request.timings_per_token is True and request.stream is True,
    )
    generate = Generate(
        id=request_id,
        prompt=prompt,
        params=SamplingParams(**sampling),
        given=tuple(sampling),
        cache_prompt=request.cache_prompt is not False,
        timeout_s=timeout_s,
        n_probs=(request.top_logprobs or 0) if form.logprobs else None,
        constraint=_constraint(request),
        keep_alive_s=request.keep_alive,
        tells_progress=request.return_progress is True and request.stream is True,
    )
    return ResponseRead(
        model=request.model,
        unknown=unknown,
        without_effect=for_the_log(
            [*vain, *table.left_out, *(f"input.type={kind}" for kind in kinds if kind in SKIPPED)]
        ),
        stream=request.stream is True,
        form=form,
        generates=[generate],
    )


def kept_item(item: dict[str, Any]) -> bytes:
    """Return the JSON of an item as it is kept: with a type and an id, and parts as a message's content."""
    kind, item_id = item_type(item), item.get("id")
    if not isinstance(item_id, str) or not 0 < len(item_id) <= _ID_CHARS:
        item_id = new_item_id(str(kind))
    kept = {**item, "type": kind, "id": item_id}
    if kind == "message" and isinstance(item.get("content"), str):
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        text = {"type": part, "text": item["content"]}
        kept["content"] = [text | {"annotations": []} if part == "output_text" else text]
    if kind != "reasoning":
        kept.setdefault("status", "completed")
    return msgspec.json.encode(kept)


# --- input --------------------------------------------------------------------------------------------------


def _items(request: ResponsesRequest) -> list[dict[str, Any]]:
    """Return the input's items; a text is the user's message."""
    given = request.input
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return list(given or ())


def _wanted(request: ResponsesRequest, given: list[dict[str, Any]]) -> HistoryWanted | None:
    """Return what the request refers to in the store; None: nothing."""
    references = [_reference(item, i) for i, item in enumerate(given) if _is_reference(item)]
    if not (references or request.previous_response_id or request.conversation_id):
        return None
    return HistoryWanted(
        previous_response_id=request.previous_response_id,
        conversation=request.conversation_id,
        references=references,
    )


def _is_reference(item: dict[str, Any]) -> bool:
    """SDKs send a reference also without its type: an object of an id and nothing else."""
    return item.get("type") == "item_reference" or (
        item.get("type") is None and item.keys() <= {"id", "type"}
    )


def _reference(item: dict[str, Any], i: int) -> str:
    reference = item.get("id")
    if not isinstance(reference, str) or not 0 < len(reference) <= _ID_CHARS:
        raise RequestError(
            f"Invalid value for 'input[{i}].id': must be the id of an item", param=f"input[{i}].id"
        )
    return reference


def _with_history(
    history: History, given: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    known = [json.loads(item) for item in history.items]
    resolved = []
    named: set[str] = set()
    for i, item in enumerate(given):
        if not _is_reference(item):
            resolved.append(item)
            continue
        if item["id"] in named:
            raise RequestError(
                f"Duplicate item found with id '{str(item['id'])[:80]}'; name it once", param=f"input[{i}].id"
            )
        named.add(item["id"])
        found = history.references.get(_reference(item, i))
        if found is None:
            raise RequestError(
                f"Item with id '{str(item['id'])[:80]}' not found; send the item itself",
                param=f"input[{i}].id",
                code="item_not_found",
            )
        resolved.append(json.loads(found))
    return known, resolved


def _is_kept(request: ResponsesRequest) -> bool:
    return request.store is not False or request.conversation_id is not None


# --- checks -------------------------------------------------------------------------------------------------


def _refuse(request: ResponsesRequest) -> None:
    """Raise RequestError for what isn't served and for fields that contradict."""
    if request.background:
        raise _unsupported("background", "a response is made while its client waits; leave it out")
    if request.prompt is not None:
        raise _unsupported("prompt", "there are no stored prompts; send 'instructions' and 'input'")
    if request.moderation is not None:
        raise _unsupported("moderation", "nothing here judges what is said; leave it out")
    refuse_elsewhere(request, "text.format")
    if (n := (request.model_extra or {}).get("n")) not in (None, 1):
        raise RequestError(f"'n' is {n!r}; a response is one answer, leave it out", param="n")
    if request.previous_response_id and request.conversation_id:
        raise RequestError(
            "'previous_response_id' and 'conversation' can't be used together; leave one of them out",
            param="previous_response_id",
            code="mutually_exclusive_parameters",
        )
    if request.input is None and not (request.previous_response_id or request.conversation_id):
        raise RequestError(
            "Missing required parameter: 'input'", param="input", code="missing_required_parameter"
        )
    if request.stream_options is not None and not request.stream:
        raise RequestError("'stream_options' is only allowed when 'stream' is true", param="stream_options")
    if request.top_logprobs and LOGPROBS not in (request.include or ()):
        raise RequestError(
            f"'top_logprobs' is {request.top_logprobs} and 'include' doesn't have '{LOGPROBS}'; add it, or "
            "leave 'top_logprobs' out",
            param="top_logprobs",
        )
    if request.max_output_tokens == 0:
        raise RequestError(
            "Invalid value for 'max_output_tokens': must be at least 1, or -1", param="max_output_tokens"
        )


def _check_numbers(request: ResponsesRequest) -> None:
    for name in ("input", "tools", "tool_choice", "text", "chat_template_kwargs"):
        value = getattr(request, name)
        check_numbers(value.model_dump() if isinstance(value, BaseModel) else value, name)


def _unsupported(name: str, why: str) -> RequestError:
    return RequestError(
        f"'{name}' is not supported by this server: {why}", param=name, code="unsupported_parameter"
    )


def _without_effect(request: ResponsesRequest) -> dict[str, str]:
    """Return the names of what is accepted and does less than a client may think, with what to do."""
    found = {}
    if request.text is not None and request.text.verbosity not in (None, "medium"):
        found["text.verbosity"] = "say it in the instructions"
    if request.context_management is not None:
        found["context_management"] = "the client keeps its context short, or sets 'truncation' to 'auto'"
    reasoning = request.reasoning
    if reasoning is not None and reasoning.context not in (None, "auto"):
        found["reasoning.context"] = "the model's template keeps or drops earlier thoughts"
    if reasoning is not None and reasoning.mode not in (None, "standard"):
        found["reasoning.mode"] = "raise 'reasoning.effort'"
    return found


# --- the engine's message -----------------------------------------------------------------------------------


def _sampling(request: ResponsesRequest) -> dict[str, Any]:
    values = {name: getattr(request, name) for name in _SAMPLING}
    if request.max_output_tokens != -1:
        values["max_tokens"] = request.max_output_tokens
    values["stop"] = request.stop or None
    return {name: value for name, value in values.items() if value is not None}


def _prompt(
    request: ResponsesRequest, messages: list[dict[str, Any]], table: ToolTable, images: ChatImages
) -> ChatPrompt:
    return ChatPrompt(
        messages=messages,
        prompt_format=request.prompt_format or None,
        chat_template_kwargs=dict(request.chat_template_kwargs or {}),
        add_generation_prompt=True,
        continue_final_message=False,
        tools=table.tools,
        tool_choice=tool_choice(
            request.tool_choice, table, parallel=request.parallel_tool_calls is not False
        ),
        thinking=thinking_of(request, request.reasoning),
        response_schema=_shown_schema(request),
        drops_oldest=request.truncation == "auto",
        images=tuple(images.found),
        image_mark=images.mark,
    )


def _constraint(request: ResponsesRequest) -> Constraint | None:
    form = request.text_format
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return Constraint(kind="json_object", param="text.format")
    if form.json_schema is None:
        raise RequestError(
            "Missing required parameter: 'text.format.schema'",
            param="text.format.schema",
            code="missing_required_parameter",
        )
    check_numbers(form.json_schema, "text.format.schema")
    return Constraint(kind="json_schema", text=json.dumps(form.json_schema), param="text.format.schema")


def _shown_schema(request: ResponsesRequest) -> str | None:
    """Return the schema that the prompt tells the model; None: none, or the client doesn't want it told."""
    form = request.text_format
    if form is None or form.type == "text" or request.show_schema is False:
        return None
    schema = {"type": "object"} if form.type == "json_object" else form.json_schema
    return None if schema is None else schema_text(schema)
