"""Ollama's validated requests → the engine's `Generate` messages, and the form of the answer. Pure."""

from __future__ import annotations

from typing import Any, Literal

from models.errors import RequestError
from server.chat.images import ChatImages
from server.chat.thinking import Thinking
from server.chat.tools import Tool
from server.ipc.constraint import Constraint
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt, InfillPrompt, Prompt, TextPrompt
from server.ollama.form import OllamaForm
from server.ollama.messages import canonical_messages, marks_of, refuse_images
from server.ollama.schemas import (
    WITHOUT_EFFECT,
    OllamaChatRequest,
    OllamaGenerateRequest,
    OllamaOptions,
    OllamaRequest,
)
from server.openai.requests.response_formats import schema_constraint, schema_to_tell
from server.openai.requests.to_engine import given_sampling, sampling_params
from server.openai.requests.tools import tools_of

_NO_OPTIONS = OllamaOptions()
_EFFORTS = {"max": "high"}
"""Chat templates know no effort above `high`."""

Route = Literal["chat", "generate"]


def from_chat(
    request: OllamaChatRequest, request_id: str, timeout_s: float | None = None
) -> tuple[list[Generate], OllamaForm]:
    """Return one message to the engine, none for a chat without messages. Raises RequestError."""
    tools = _tools(request.tools)
    if not request.messages:
        return [], _load_form(request, "chat")
    constraint = constraint_of(request)
    images = ChatImages()
    prompt = ChatPrompt(
        messages=canonical_messages(request.messages, images),
        tools=tools,
        thinking=thinking_of(request),
        response_schema=schema_to_tell(constraint),
        drops_oldest=request.truncate is not False,
        images=tuple(images.found),
        image_mark=images.mark,
    )
    form = _form(request, "chat", tools=tools)
    return [_generate(request, prompt, form, constraint, request_id, timeout_s)], form


def from_generate(
    request: OllamaGenerateRequest, request_id: str, timeout_s: float | None = None
) -> tuple[list[Generate], OllamaForm]:
    """Return one message to the engine, none for an empty prompt. Raises RequestError."""
    if request.template:
        raise RequestError(
            "'template' is a Go template, which this server doesn't read; leave it out, or send the whole "
            "prompt with 'raw'",
            param="template",
            code="unsupported_parameter",
        )
    if not request.prompt and not request.suffix:
        return [], _load_form(request, "generate")
    constraint = constraint_of(request)
    prompt = _prompt(request, constraint)
    form = _form(request, "generate", tells_context=request.raw is not True)
    return [_generate(request, prompt, form, constraint, request_id, timeout_s)], form


def constraint_of(request: OllamaRequest) -> Constraint | None:
    """Return the form of the answer's text; None: any. Raises RequestError."""
    match request.format:
        case None | "":
            return None
        case "json":
            return Constraint(kind="json_object", param="format")
        case dict():
            return schema_constraint(request.format, "format")
    raise RequestError(
        "Invalid value for 'format': must be \"json\" or a JSON schema, which is an object", param="format"
    )


def thinking_of(request: OllamaRequest) -> Thinking:
    """Return the wish for thoughts; without a word about them they are as the template has them."""
    match request.think:
        case None:
            return Thinking()
        case bool(enabled):
            return Thinking(enabled=enabled)
        case level:
            return Thinking(enabled=True, effort=_EFFORTS.get(level, level))


def without_effect(request: OllamaRequest) -> list[str]:
    """Return the names of what the request asks for in vain."""
    options = request.options or _NO_OPTIONS
    told = [f"options.{name}" for name in WITHOUT_EFFECT if getattr(options, name) is not None]
    if options.num_keep is not None and request.shift is not True:
        told.append("options.num_keep (without shift)")
    if isinstance(request, OllamaGenerateRequest) and request.suffix:
        told += [f"{name} (beside suffix)" for name in ("system", "context") if getattr(request, name)]
    return told


def given_options(options: OllamaOptions | None) -> list[str]:
    """Return the names of all options that are given: none changes a vector."""
    return [] if options is None else [f"options.{name}" for name in options.model_fields_set]


def _prompt(request: OllamaGenerateRequest, constraint: Constraint | None) -> Prompt:
    text = request.prompt or ""
    if request.raw or request.suffix:
        refuse_images(request.images, "images", "a prompt without a template, or with a 'suffix', shows none")
    if request.raw:
        beside = [name for name in ("system", "context", "suffix") if getattr(request, name)]
        if beside:
            raise RequestError(
                f"'raw' sends the prompt as it is, and '{beside[0]}' would change it; leave one of them out",
                param=beside[0],
            )
        return TextPrompt(text)
    if request.suffix:
        return InfillPrompt(prefix=text, suffix=request.suffix)
    images = ChatImages()
    text = marks_of(request.images, images, "images") + text
    system = [{"role": "system", "content": request.system}] if request.system else []
    return ChatPrompt(
        messages=[*system, {"role": "user", "content": text}],
        thinking=thinking_of(request),
        response_schema=schema_to_tell(constraint),
        before=tuple(request.context or ()),
        images=tuple(images.found),
        image_mark=images.mark,
    )


def _generate(
    request: OllamaRequest,
    prompt: Prompt,
    form: OllamaForm,
    constraint: Constraint | None,
    request_id: str,
    timeout_s: float | None,
) -> Generate:
    options = request.options or _NO_OPTIONS
    given = given_sampling(options)
    if options.num_predict is not None:
        given["max_tokens"] = None if options.num_predict < 0 else options.num_predict
    params = sampling_params(given)
    if request.shift and params.max_tokens is None:
        raise RequestError(
            "'shift' is true, so the context's end doesn't end the answer; send 'options.num_predict', too",
            param="options.num_predict",
        )
    return Generate(
        id=request_id,
        prompt=prompt,
        params=params,
        given=tuple(given),
        timeout_s=timeout_s,
        n_probs=form.n_top,
        context_shift=request.shift is True,
        n_keep=options.num_keep,
        constraint=constraint,
        keep_alive_s=request.keep_alive,
        return_tokens=form.tells_context,
        tells_tokens=form.tells_context,
    )


def _form(request: OllamaRequest, route: Route, **more: Any) -> OllamaForm:
    return OllamaForm(
        route=route,
        keep_alive_s=request.keep_alive,
        needs_thoughts=request.think not in (None, False),
        n_top=(request.top_logprobs or 0) if request.logprobs else None,
        **more,
    )


def _load_form(request: OllamaRequest, route: Route) -> OllamaForm:
    return _form(request, route, only_loads=True)


def _tools(given: Any) -> tuple[Tool, ...]:
    """Return the tools; one that doesn't say its type is a function, the only type that Ollama has."""
    if isinstance(given, list):
        given = [{"type": "function", **each} if isinstance(each, dict) else each for each in given]
    return tools_of(given)
