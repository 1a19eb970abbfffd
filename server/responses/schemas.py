"""Requests of the Responses API as clients send them, typed and checked. Names are the wire's.

Items of the input and tools stay objects here: `items.py` and `tools.py` read them by their types.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from models.errors import RequestError
from server.openai.requests.field_types import Alternatives, KeepAlive, Limited, MaxTokens, Seed, Stop
from server.openai.requests.schemas import ReasoningWish, ThinkingRequest

MAX_METADATA = 16
"""The most pairs of `metadata`; keys have at most 64 characters, values 512: OpenAI's limits."""
MAX_ITEMS = 20
"""The most items that are added to a conversation in one request, as at OpenAI."""

_CONFIG = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)
_INNER = ConfigDict(strict=True, extra="allow", frozen=True, hide_input_in_errors=True)

Include = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]
"""The last six ask for parts of items that this server never makes."""

Items = Annotated[list[dict[str, JsonValue]], Field(fail_fast=True)]


def _metadata(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_METADATA:
        raise ValueError(f"has {len(value)} pairs; at most {MAX_METADATA} are allowed")
    if any(len(key) > 64 or len(text) > 512 for key, text in value.items()):
        raise ValueError("a key may have 64 characters and a value 512")
    return value


def metadata_of(value: dict[str, Any] | None) -> dict[str, str]:
    """Return the metadata of something that is to be kept. Raises RequestError for what is no metadata."""
    if not all(isinstance(text, str) for text in (value or {}).values()):
        raise RequestError("Invalid value for 'metadata': each value must be a string", param="metadata")
    try:
        return _metadata(value or {})
    except ValueError as error:
        raise RequestError(f"Invalid value for 'metadata': {error}", param="metadata") from error


Metadata = Annotated[dict[str, str], AfterValidator(_metadata)]


class ReasoningOptions(ReasoningWish):
    """The effort goes to the template; summaries aren't made, the thoughts themselves are in the answer."""

    summary: Literal["auto", "concise", "detailed", "none"] | None = None
    generate_summary: Literal["auto", "concise", "detailed", "none"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | None = None


class TextFormat(BaseModel):
    """The form of the answer's text."""

    model_config = ConfigDict(**{**_INNER, "populate_by_name": True})

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Field(max_length=64)] | None = None
    description: str | None = None
    strict: bool | None = None
    json_schema: dict[str, JsonValue] | None = Field(default=None, alias="schema")


class TextOptions(BaseModel):
    model_config = _INNER

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ConversationReference(BaseModel):
    model_config = _INNER

    id: Annotated[str, Field(min_length=1, max_length=128)]


class ResponseStreamOptions(BaseModel):
    model_config = _INNER

    include_obfuscation: bool | None = None


class ResponsesRequest(ThinkingRequest):
    """`POST /v1/responses`."""

    model: str | None = Field(default=None, max_length=512)
    input: str | Items | None = Field(default=None, description="Text, or items: messages, calls, results.")
    instructions: str | None = Field(default=None, description="A system message before everything else.")
    previous_response_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    conversation: str | ConversationReference | None = None
    store: bool | None = Field(default=None, description="False: the response isn't kept. True by default.")
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None

    tools: Items | None = None
    tool_choice: str | dict[str, JsonValue] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    max_output_tokens: MaxTokens | None = Field(
        default=None, description="An upper bound; -1: to the context's end."
    )
    temperature: Annotated[float, Limited("temperature")] | None = None
    top_p: Annotated[float, Limited("top_p")] | None = None
    top_logprobs: Alternatives | None = None
    include: list[Include] | None = None
    truncation: Literal["auto", "disabled"] | None = Field(
        default=None, description="auto: the oldest items that have no room in the context are left out."
    )
    metadata: Metadata | None = None

    # Known, and refused unless neutral: see `read`.
    background: bool | None = None
    prompt: JsonValue = None
    moderation: JsonValue = None

    timings_per_token: bool | None = Field(
        default=None, description="True: the events of a stream's text, and its last one, have `timings`."
    )
    return_progress: bool | None = Field(
        default=None, description="True: a stream tells how far the prompt is computed."
    )
    seed: Seed | None = None
    top_k: Annotated[int, Limited("top_k")] | None = None
    min_p: Annotated[float, Limited("min_p")] | None = None
    frequency_penalty: Annotated[float, Limited("frequency_penalty")] | None = None
    presence_penalty: Annotated[float, Limited("presence_penalty")] | None = None
    repeat_penalty: Annotated[float, Limited("repeat_penalty")] | None = None
    prompt_format: str | None = Field(default=None, max_length=64)
    stop: Stop = ()
    cache_prompt: bool | None = None
    keep_alive: KeepAlive = None
    show_schema: bool | None = Field(
        default=None, description="False: the prompt doesn't tell the model the schema of its answer."
    )

    # Accepted and without effect here.
    user: str | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: JsonValue = None
    client_metadata: JsonValue = None
    access_programs: JsonValue = None
    image: JsonValue = Field(default=None, description="Options of images, of which there are none.")
    max_tool_calls: int | None = Field(default=None, description="It counts calls of hosted tools alone.")
    context_management: JsonValue = None

    @property
    def text_format(self) -> TextFormat | None:
        """The form of the answer's text, if the request asks for one."""
        return None if self.text is None else self.text.format

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation, however it is given."""
        given = self.conversation
        return given.id if isinstance(given, ConversationReference) else given


class ConversationCreation(BaseModel):
    """`POST /v1/conversations`."""

    model_config = _CONFIG

    items: Annotated[Items, Field(max_length=MAX_ITEMS)] | None = None
    metadata: Metadata | None = None


class ItemsCreation(BaseModel):
    """`POST /v1/conversations/{id}/items`."""

    model_config = _CONFIG

    items: Annotated[Items, Field(min_length=1, max_length=MAX_ITEMS)]


class MetadataUpdate(BaseModel):
    """`POST /v1/conversations/{id}`, and of a stored chat completion."""

    model_config = _CONFIG

    metadata: Metadata | None


def inner_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; nothing where it is no list."""
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []
