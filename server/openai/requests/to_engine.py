"""Validated requests → the engine's `Generate` messages. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from models.errors import RequestError
from server.chat.images import ChatImages
from server.engine.batch import Adapters
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt, InfillPrompt, Prompt, TextPrompt, TokenPrompt
from server.openai.requests.answer_options import AnswerOptions
from server.openai.requests.checks import check, check_chat
from server.openai.requests.field_types import PromptInput
from server.openai.requests.messages import canonical_messages
from server.openai.requests.reasoning import thinking
from server.openai.requests.response_formats import constraint_of, shown_schema
from server.openai.requests.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
    SamplingFields,
    TemplateRequest,
)
from server.openai.requests.tools import offered_tools

_NOT_GIVEN = (None, ())
"""The values that a field of the request has if its client left it out."""


def from_chat(
    request: ChatCompletionRequest, options: AnswerOptions, request_id: str, timeout_s: float | None = None
) -> list[Generate]:
    """Return one `Generate`. Raises RequestError for what isn't supported."""
    schema = shown_schema(request, constraint_of(request))
    prompt = msgspec.structs.replace(chat_prompt(request), response_schema=schema)
    return generates(request, options, [prompt], request_id, timeout_s)


def from_completion(
    request: CompletionRequest, options: AnswerOptions, request_id: str, timeout_s: float | None = None
) -> list[Generate]:
    """Return one `Generate` per prompt, in order. Raises RequestError for what isn't supported."""
    prompts = [_prompt(prompt, request.suffix) for prompt in request.prompt]
    return generates(request, options, prompts, request_id, timeout_s)


def without_effect(request: GenerationRequest) -> list[str]:
    """Return the names of fields that do nothing here, and for which a client may wait."""
    told = isinstance(request, ChatCompletionRequest) and request.verbosity not in (None, "medium")
    return ["verbosity"] if told else []


def chat_prompt(request: TemplateRequest) -> ChatPrompt:
    """Return the messages as plain dicts with string contents, and images. Raises RequestError for others."""
    check_chat(request)
    images = ChatImages()
    offered = offered_tools(request)
    continuation = request.continue_final_message
    generation_prompt = (
        not continuation if request.add_generation_prompt is None else request.add_generation_prompt
    )
    return ChatPrompt(
        messages=canonical_messages(request.messages, images),
        prompt_format=request.prompt_format or None,
        chat_template_kwargs=dict(request.chat_template_kwargs or {}),
        add_generation_prompt=generation_prompt,
        continue_final_message=continuation,
        tools=offered.tools,
        tool_choice=offered.choice,
        thinking=thinking(request),
        images=tuple(images.found),
        image_mark=images.mark,
    )


def given_sampling(request: SamplingFields) -> dict[str, Any]:
    """Return the fields of SamplingParams that the client gave, by name."""
    values = {name: getattr(request, name) for name in SamplingParams.__struct_fields__}
    values["logit_bias"] = tuple((key, bias) for key, bias in request.logit_bias if isinstance(key, int))
    given = {name: value for name, value in values.items() if value not in _NOT_GIVEN}
    if given.get("seed") == -1:
        given["seed"] = None
    name = max_tokens_name(request)
    if name is not None:
        given["max_tokens"] = _max_tokens(request, name)
    return given


def sampling_params(given: dict[str, Any]) -> SamplingParams:
    """Return what the client gave, over llama.cpp's defaults. Raises RequestError for a contradiction."""
    params = SamplingParams(**given)
    if params.max_tokens is not None and params.min_tokens > params.max_tokens:
        raise RequestError(
            f"'min_tokens' is {params.min_tokens} and 'max_tokens' is {params.max_tokens}; lower it",
            param="min_tokens",
        )
    return params


def adapters(request: GenerationRequest) -> Adapters | None:
    """Return the request's LoRA adapters without those that are off; None: the request names none."""
    if request.lora is None:
        return None
    return tuple((adapter, scale) for adapter, scale in request.lora if scale != 0)


def generates(
    request: GenerationRequest,
    options: AnswerOptions,
    prompts: list[Prompt],
    request_id: str,
    timeout_s: float | None,
) -> list[Generate]:
    check(request)
    constraint = constraint_of(request)
    given = given_sampling(request)
    params = sampling_params(given)
    if request.context_shift and params.max_tokens is None:
        raise RequestError(
            "'context_shift' is true, so the context's end doesn't end the answer; send 'max_tokens' with it",
            param="max_tokens",
        )
    n, logprobs = request.n or 1, options.n_probs
    echo = isinstance(request, CompletionRequest | ChatCompletionRequest) and request.echo is True
    score_prompt = echo and logprobs is not None and isinstance(request, CompletionRequest)
    if isinstance(request, CompletionRequest) and request.best_of is not None and request.best_of > n:
        n, logprobs = request.best_of, logprobs or 0  # the choices are compared by their logprobs
    ids = [request_id] if len(prompts) == 1 else [f"{request_id}-{i}" for i in range(len(prompts))]
    return [
        Generate(
            id=generate_id,
            prompt=prompt,
            params=params,
            given=tuple(given),
            n=n,
            cache_prompt=request.cache_prompt is not False,
            timeout_s=timeout_s,
            return_tokens=options.return_tokens,
            echo=echo,
            n_probs=logprobs,
            score_prompt=score_prompt,
            priority=request.priority or 0,
            adapters=adapters(request),
            context_shift=request.context_shift,
            n_keep=request.n_keep,
            slot=None if request.id_slot == -1 else request.id_slot,
            constraint=constraint,
            keep_alive_s=request.keep_alive,
            tells_progress=options.return_progress,
            tells_reading=options.verbose and request.stream is not True,
        )
        for generate_id, prompt in zip(ids, prompts, strict=True)
    ]


_MAX_TOKENS_NAMES = ("max_completion_tokens", "max_tokens", "n_predict")
"""The names of max_tokens, the first that is given counts."""


def max_tokens_name(request: SamplingFields) -> str | None:
    """Return the first of the names of max_tokens that was given."""
    return next((name for name in _MAX_TOKENS_NAMES if getattr(request, name) is not None), None)


def _max_tokens(request: SamplingFields, name: str) -> int | None:
    """Return max_tokens as the field of that name has it; None: to the context's end."""
    value: int = getattr(request, name)
    if value == 0 and isinstance(request, ChatCompletionRequest):
        raise RequestError(f"Invalid value for '{name}': must be at least 1, or -1", name)
    return None if value == -1 else value


def _prompt(prompt: PromptInput, suffix: str | None) -> Prompt:
    if not suffix:
        return TextPrompt(prompt) if isinstance(prompt, str) else TokenPrompt(tuple(prompt))
    if not isinstance(prompt, str):
        raise RequestError(
            "'prompt' has token ids and there is a 'suffix', whose text goes with a text; send a string",
            param="prompt",
        )
    return InfillPrompt(prefix=prompt, suffix=suffix)
