"""Requests as clients send them: OpenAI's parameters and llama-server's, typed and checked.

Field names are the wire's.
`None` means "not given" for every field with that default: an explicit `null` is the same, as in OpenAI's
API. Unknown fields are kept in `model_extra` and only warned about. Known fields that aren't served yet are
in `checks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from server.openai.requests.field_types import (
    TOKEN_ID_LIMIT,
    Alternatives,
    AlternativesOrOff,
    Biases,
    Breakers,
    BudgetTokens,
    KeepAlive,
    Limited,
    Logprobs,
    LoraAdapters,
    MaxTokens,
    Priority,
    Prompts,
    Seed,
    Stop,
    TokenList,
)

_CONFIG = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)
_INNER = ConfigDict(strict=True, extra="allow", frozen=True)
_MOST_LOGGED = 200
_LOGGED_CHARS = 80
"""So many names of a request's fields are told in the log, each with so many characters."""


class StreamOptions(BaseModel):
    model_config = _INNER

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ModelRequest(BaseModel):
    """The model of a request, the number of its answers, and whether they are streamed."""

    model_config = _CONFIG

    model: str | None = Field(
        default=None, max_length=512, description="`name` or `name:TYPE`; may be left out if one model runs."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None


class SamplingFields(BaseModel):
    """The parameters of sampling and stopping. `to_engine` copies them to SamplingParams by their names.

    `max_completion_tokens` and `n_predict` are other names of `max_tokens`.
    """

    model_config = _CONFIG

    max_tokens: MaxTokens | None = Field(
        default=None, description="An upper bound; -1, or more than there is room for: to the context's end."
    )
    max_completion_tokens: MaxTokens | None = Field(default=None, description="Another name of max_tokens.")
    n_predict: MaxTokens | None = Field(default=None, description="llama-server's name of max_tokens.")
    min_tokens: Annotated[int, Limited("min_tokens")] | None = None
    stop: Stop = ()
    ignore_eos: bool | None = None

    temperature: Annotated[float, Limited("temperature")] | None = None
    top_p: Annotated[float, Limited("top_p")] | None = None
    frequency_penalty: Annotated[float, Limited("frequency_penalty")] | None = None
    presence_penalty: Annotated[float, Limited("presence_penalty")] | None = None
    seed: Seed | None = None
    logit_bias: Biases = ()

    dynatemp_range: Annotated[float, Limited("dynatemp_range")] | None = None
    dynatemp_exponent: Annotated[float, Limited("dynatemp_exponent")] | None = None
    top_k: Annotated[int, Limited("top_k")] | None = None
    min_p: Annotated[float, Limited("min_p")] | None = None
    typical_p: Annotated[float, Limited("typical_p")] | None = None
    top_n_sigma: Annotated[float, Limited("top_n_sigma")] | None = None
    xtc_probability: Annotated[float, Limited("xtc_probability")] | None = None
    xtc_threshold: Annotated[float, Limited("xtc_threshold")] | None = None
    dry_multiplier: Annotated[float, Limited("dry_multiplier")] | None = None
    dry_base: Annotated[float, Limited("dry_base")] | None = None
    dry_allowed_length: Annotated[int, Limited("dry_allowed_length")] | None = None
    dry_penalty_last_n: Annotated[int, Limited("dry_penalty_last_n")] | None = None
    dry_sequence_breakers: Breakers | None = None
    repeat_penalty: Annotated[float, Limited("repeat_penalty")] | None = None
    repeat_last_n: Annotated[int, Limited("repeat_last_n")] | None = None
    mirostat: Annotated[int, Limited("mirostat")] | None = None
    mirostat_tau: Annotated[float, Limited("mirostat_tau")] | None = None
    mirostat_eta: Annotated[float, Limited("mirostat_eta")] | None = None


class SamplingRequest(ModelRequest, SamplingFields):
    """A request that has the parameters of sampling among its own fields."""


class GenerationRequest(SamplingRequest):
    """The parameters that completions and chat completions share."""

    n_probs: AlternativesOrOff | None = Field(
        default=None, description="llama-server's name of logprobs; 0 and -1: none."
    )
    priority: Priority | None = Field(default=None, description="Lower goes first; 0 by default.")
    lora: LoraAdapters = Field(default=None, description="LoRA adapters by id; those not named are off.")
    cache_prompt: bool | None = None
    keep_alive: KeepAlive = None
    context_shift: bool | None = Field(
        default=None, description="True: an answer goes on where the context is full, without its older half."
    )
    n_keep: Annotated[int, Field(ge=-1, le=TOKEN_ID_LIMIT)] | None = Field(
        default=None, description="With context_shift, so many tokens of the prompt stay; -1: all."
    )
    timings_per_token: bool | None = None
    verbose: bool | None = Field(
        default=None, description="True: a whole answer has `__verbose`, with the prompt and the parameters."
    )
    return_tokens: bool | None = None
    return_progress: bool | None = Field(
        default=None, description="True: a stream tells how far the prompt is computed."
    )
    id_slot: Annotated[int, Field(ge=-1, le=TOKEN_ID_LIMIT)] | None = Field(
        default=None,
        description="The first choice waits for this slot and finds there what it holds; -1: the best one.",
    )

    # Accepted and without effect here.
    user: str | None = None
    metadata: dict[str, JsonValue] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: JsonValue = None
    prompt_cache_retention: JsonValue = None

    # The form of the answer, one of them: see `response_formats`.
    response_format: JsonValue = Field(default=None, description="text, json_object or json_schema.")
    json_schema: JsonValue = Field(default=None, description="A JSON schema that the answer follows.")
    grammar: JsonValue = Field(default=None, description="GBNF, or Lark after a first line `%llguidance {}`.")
    regex: JsonValue = Field(default=None, description="A regular expression of the whole answer.")
    choice: JsonValue = Field(default=None, description="A list of texts; the answer is one of them.")
    lark: JsonValue = Field(default=None, description="A Lark grammar, as llguidance reads it.")
    guided_json: JsonValue = Field(default=None, description="vLLM's name of json_schema.")
    guided_regex: JsonValue = Field(default=None, description="vLLM's name of regex.")
    guided_choice: JsonValue = Field(default=None, description="vLLM's name of choice.")
    guided_grammar: JsonValue = Field(default=None, description="vLLM's name of grammar.")
    structured_outputs: JsonValue = Field(default=None, description="vLLM's object of json, regex, …")
    show_schema: bool | None = Field(
        default=None, description="False: the prompt doesn't tell the model the answer's schema."
    )


class CompletionRequest(GenerationRequest):
    """`POST /v1/completions`."""

    prompt: Prompts = Field(description="Text or token ids, one prompt or several; each makes `n` choices.")
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None
    logprobs: Logprobs = None
    suffix: str | None = Field(
        default=None, description="The text after the gap that the answer fills: see docs/infill.md."
    )


class ChatMessage(BaseModel):
    """One message. `messages` reads its parts and calls."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[dict[str, JsonValue]], Field(fail_fast=True)] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: JsonValue = None
    function_call: JsonValue = None
    audio: JsonValue = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = Field(default=None, description="vLLM's newer name of reasoning_content.")


class ThinkingSwitch(BaseModel):
    """`thinking` of DeepSeek, Z.ai and Anthropic."""

    model_config = _INNER

    type: Literal["enabled", "disabled", "adaptive", "auto"] = "enabled"
    budget_tokens: BudgetTokens | None = None


class ReasoningWish(BaseModel):
    """The fields of `reasoning` that OpenRouter has in both protocols."""

    model_config = _INNER

    effort: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    max_tokens: BudgetTokens | None = None
    enabled: bool | None = None


class ReasoningOptions(ReasoningWish):
    """`reasoning` of chat completions, which is OpenRouter's."""

    exclude: bool | None = None


class ThinkingRequest(BaseModel):
    """The wishes about thoughts that chat completions and responses share."""

    model_config = _CONFIG

    chat_template_kwargs: dict[str, JsonValue] | None = None
    enable_thinking: bool | None = Field(
        default=None, description="Switches the thoughts of models whose template can."
    )
    thinking_budget_tokens: BudgetTokens | None = Field(
        default=None, description="At so many tokens of thoughts their end is forced; -1: no bound."
    )
    reasoning_budget_tokens: BudgetTokens | None = Field(
        default=None, description="Another name of thinking_budget_tokens."
    )
    reasoning_budget: BudgetTokens | None = Field(
        default=None, description="Another name of thinking_budget_tokens."
    )


class TemplateRequest(ThinkingRequest):
    """The common fields of chat completions and `/apply-template`: messages, and how they become a prompt."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)]
    prompt_format: str | None = Field(
        default=None, max_length=64, description="alpaca, vicuna, … or `template`."
    )
    add_generation_prompt: bool | None = None
    continue_final_message: bool | Literal["content", "reasoning_content"] | None = Field(
        default=None,
        description="True: the last message, the assistant's, is continued; so it is where this is left out. "
        "False: it is complete.",
    )
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None,
        description="Goes to the chat template, for models whose template knows it; none: no thinking.",
    )
    thinking: ThinkingSwitch | None = None
    reasoning: ReasoningOptions | None = Field(
        default=None, description="OpenRouter's; with it, thoughts come as `reasoning`, too."
    )

    tools: JsonValue = Field(
        default=None, description="Functions that the answer may call: see docs/openai.md."
    )
    tool_choice: JsonValue = None
    parallel_tool_calls: bool | None = Field(
        default=None, description="False: an answer has at most one call."
    )
    functions: JsonValue = Field(default=None, description="Legacy form of `tools`.")
    function_call: JsonValue = Field(default=None, description="Legacy form of `tool_choice`.")


class ChatCompletionRequest(TemplateRequest, GenerationRequest):
    """`POST /v1/chat/completions`."""

    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None
    echo: bool | None = Field(
        default=None, description="True: the answer repeats the words of the message that it continues."
    )
    reasoning_format: (
        Literal["none", "auto", "deepseek", "deepseek-legacy", "parsed", "raw", "hidden"] | None
    ) = Field(
        default=None,
        description="none: thoughts stay in the content; deepseek-legacy: there and in reasoning_content.",
    )
    include_reasoning: bool | None = Field(
        default=None, description="True: thoughts come as `reasoning`, too; false: they are left out."
    )

    verbosity: Literal["low", "medium", "high"] | None = Field(
        default=None, description="Without effect, and logged: say it in the messages."
    )

    # Known, and refused unless neutral: see `checks`.
    moderation: JsonValue = None
    modalities: JsonValue = None
    audio: JsonValue = None
    prediction: JsonValue = None
    web_search_options: JsonValue = None


class ApplyTemplateRequest(TemplateRequest):
    """`POST /apply-template`, llama-server's."""

    model: str | None = Field(default=None, max_length=512)


class TokenizeRequest(BaseModel):
    """`POST /tokenize`: llama-server's `content`, or the `prompt` of vLLM and of evaluation tools."""

    model_config = _CONFIG

    model: str | None = Field(default=None, max_length=512)
    content: str | None = None
    prompt: str | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None


class DetokenizeRequest(BaseModel):
    """`POST /detokenize`, llama-server's."""

    model_config = _CONFIG

    model: str | None = Field(default=None, max_length=512)
    tokens: TokenList


Request = GenerationRequest | ApplyTemplateRequest | TokenizeRequest | DetokenizeRequest


def unknown_fields(request: BaseModel) -> list[str]:
    """Return the names that the client sent and no schema knows, as `for_the_log` has them.

    Fields of an object within the request are named by their path, such as `reasoning.depth`.
    """
    return for_the_log(_unknown(request, ""))


def for_the_log(names: Iterable[str]) -> list[str]:
    """Return the first of the names, each once and cut."""
    return list(dict.fromkeys(name[:_LOGGED_CHARS] for name in islice(names, _MOST_LOGGED)))


def _unknown(value: BaseModel, path: str) -> Iterator[str]:
    for name in value.model_extra or ():
        yield path + name
    given = value.model_fields_set
    for name in type(value).model_fields:
        if name in given and isinstance(inner := getattr(value, name), BaseModel):
            yield from _unknown(inner, f"{path}{name}.")
