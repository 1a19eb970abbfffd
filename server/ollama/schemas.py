"""Requests as Ollama's clients send them, typed and checked; field names are the wire's.

`None` means "not given". Unknown fields are kept in `model_extra` and only warned about.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from server.embeddings.schemas import PooledRequest
from server.openai.requests.field_types import TOKEN_ID_LIMIT, Alternatives, KeepAlive, TokenList
from server.openai.requests.schemas import SamplingFields

_CONFIG = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)
_Number = Annotated[int, Field(ge=-TOKEN_ID_LIMIT, le=TOKEN_ID_LIMIT)]

WITHOUT_EFFECT = (
    *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_gqa", "num_thread", "draft_num_predict"),
    *("use_mmap", "use_mlock", "numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "embedding_only"),
    *("rope_frequency_base", "rope_frequency_scale"),
    *("tfs_z", "penalize_newline"),
)
"""The options with which Ollama loads a model, for which the server has settings, and at the end those of
samplers that llama.cpp has no more."""


class OllamaOptions(SamplingFields):
    """`options`: the parameters of sampling, and what Ollama loads a model with."""

    num_predict: Annotated[int, Field(ge=-2, le=TOKEN_ID_LIMIT)] | None = Field(
        default=None, description="An upper bound of the answer's tokens; -1 and -2: to the context's end."
    )
    num_keep: Annotated[int, Field(ge=-1, le=TOKEN_ID_LIMIT)] | None = Field(
        default=None, description="With `shift`, so many tokens of the prompt stay; -1: all."
    )

    # Accepted and without effect here, which is logged.
    num_ctx: _Number | None = None
    num_batch: _Number | None = None
    num_gpu: _Number | None = None
    main_gpu: _Number | None = None
    num_gqa: _Number | None = None
    num_thread: _Number | None = None
    draft_num_predict: _Number | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    logits_all: bool | None = None
    vocab_only: bool | None = None
    embedding_only: bool | None = None
    rope_frequency_base: float | None = None
    rope_frequency_scale: float | None = None
    tfs_z: float | None = None
    penalize_newline: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, values: Any) -> Any:
        """Accept `40.0` where a whole number belongs: JSON has one kind of number, and Ollama takes it so."""
        if not isinstance(values, dict):
            return values
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in values.items()
        }


class NamedRequest(BaseModel):
    """The model of a request, by its name or, as older clients have it, by `name`."""

    model_config = _CONFIG

    model: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="`name`, `name:TYPE` or `name:latest`, also with `hf.co/` in front."
    )
    name: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="An older name of it."
    )

    @property
    def named(self) -> str | None:
        """The model's name, under either name."""
        return self.model or self.name or None


class OllamaRequest(BaseModel):
    """The fields that `/api/chat` and `/api/generate` share."""

    model_config = _CONFIG

    model: Annotated[str, Field(max_length=512)] | None = None
    stream: bool | None = Field(
        default=None, description="False: one whole answer. By default it is streamed."
    )
    format: JsonValue = Field(default=None, description="`json`, or a JSON schema that the answer follows.")
    options: OllamaOptions | None = Field(default=None, description="The parameters of sampling.")
    think: bool | Literal["low", "medium", "high", "max"] | None = Field(
        default=None, description="Switches the thoughts of a model that can think, or says their effort."
    )
    truncate: bool | None = Field(
        default=None, description="False: a chat that is too long is refused, not shortened."
    )
    shift: bool | None = Field(
        default=None,
        description="True: an answer goes on where the context is full, without its older half, up to "
        "`num_predict` tokens.",
    )
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None
    keep_alive: KeepAlive = None


class OllamaMessage(BaseModel):
    """One message of a chat. `messages` reads its calls."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    role: Annotated[
        Literal["system", "user", "assistant", "tool"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    ]
    content: str | None = None
    thinking: str | None = None
    images: JsonValue = None
    tool_calls: JsonValue = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OllamaChatRequest(OllamaRequest):
    """`POST /api/chat`."""

    messages: Annotated[list[OllamaMessage], Field(fail_fast=True)] | None = Field(
        default=None, description="Without any the model is loaded, or with `keep_alive` 0 unloaded."
    )
    tools: JsonValue = Field(default=None, description="Functions that the answer may call.")


class OllamaGenerateRequest(OllamaRequest):
    """`POST /api/generate`."""

    prompt: str | None = Field(
        default=None, description="Without one the model is loaded, or with `keep_alive` 0 unloaded."
    )
    suffix: str | None = Field(default=None, description="The text after the gap that the answer fills.")
    system: str | None = None
    template: str | None = Field(default=None, description="Refused unless empty: it is a Go template.")
    context: TokenList | None = Field(
        default=None, description="The `context` of an earlier answer, which this request goes on from."
    )
    raw: bool | None = Field(default=None, description="True: the prompt is used as it is.")
    images: JsonValue = None


class OllamaEmbedRequest(PooledRequest):
    """`POST /api/embed`. A text that is too long loses its end, unless `truncate` is false."""

    input: JsonValue = Field(
        default=None, description="A text, or several; each gets a vector. Without any the model is loaded."
    )
    dimensions: Annotated[int, Field(ge=0, lt=TOKEN_ID_LIMIT)] | None = Field(
        default=None, description="Vectors have so many numbers, their first ones; 0: all."
    )
    options: OllamaOptions | None = None


class OllamaEmbeddingsRequest(PooledRequest):
    """`POST /api/embeddings`, the older form, for one text."""

    prompt: str | None = Field(default=None, description="Without one the model is loaded.")
    options: OllamaOptions | None = None


class ShowRequest(NamedRequest):
    """`POST /api/show`."""

    verbose: bool | None = Field(
        default=None, description="True: long arrays of the file's header are shown."
    )


class PullRequest(NamedRequest):
    """`POST /api/pull`."""

    stream: bool | None = Field(default=None, description="False: one answer, at the end.")
    insecure: bool | None = Field(default=None, description="Without effect: the Hub is asked over TLS.")
