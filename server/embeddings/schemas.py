"""Requests for vectors and scores as clients send them: OpenAI's, TEI's, Jina's, vLLM's and others.

Field names are the wire's. `None` means "not given"; unknown fields are kept in `model_extra` and only warned
about. The texts are read by `inputs`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from server.openai.requests.field_types import TOKEN_ID_LIMIT, AtMost, AtMostOrOff, KeepAlive, Priority

_CONFIG = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

Name = Annotated[str, Field(min_length=1, max_length=128)]
Positive = Annotated[int, Field(ge=1, lt=TOKEN_ID_LIMIT)]


class PooledRequest(BaseModel):
    """The model of a request, and what becomes of a text that is longer than its context."""

    model_config = _CONFIG

    model: str | None = Field(
        default=None, max_length=512, description="`name` or `name:TYPE`; may be left out if one model runs."
    )
    truncate: bool | Literal["NONE", "START", "END", "LEFT", "RIGHT"] | None = Field(
        default=None,
        description="True or END: a text that is too long loses its end; START: its beginning; else: a 400.",
    )
    truncation: bool | None = Field(default=None, description="Another name of truncate.")
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = Field(
        default=None, description="The side that a text loses, by default the right one."
    )
    truncate_prompt_tokens: AtMostOrOff | None = Field(
        default=None, description="vLLM's: a text has at most so many tokens; -1: as many as the context."
    )
    priority: Priority | None = Field(default=None, description="Lower goes first; 0 by default.")
    keep_alive: KeepAlive = None
    user: str | None = None


class VectorRequest(PooledRequest):
    """A request for vectors: the text that goes before each, and a vector's form."""

    dimensions: Positive | None = Field(
        default=None, description="Vectors have so many numbers, their first ones, normalized again."
    )
    normalize: bool | None = Field(
        default=None, description="False: vectors are as the model gives them, not of length 1."
    )
    normalized: bool | None = Field(default=None, description="Jina's name of normalize.")
    embd_normalize: Annotated[int, Field(ge=-1, le=64)] | None = Field(
        default=None,
        description="llama-server's: -1 no norm, 0 the largest, 1 the sum, 2 the length, p the p-norm.",
    )
    input_type: Name | None = Field(
        default=None,
        description="query, document …: the model's own prompt goes before, if its file has one.",
    )
    task: Name | None = Field(default=None, description="Jina's name of input_type: retrieval.query …")
    prompt_name: Name | None = Field(
        default=None, description="The name of a prompt of the model's file, which goes before each text."
    )
    prompt: Annotated[str, Field(max_length=65_536)] | None = Field(
        default=None, description="This goes before each text."
    )
    add_special_tokens: bool | None = Field(
        default=None, description="False: strings don't get the model's special tokens."
    )


class EmbeddingRequest(VectorRequest):
    """`POST /v1/embeddings`, and llama-server's `/embedding`, which has `content`."""

    input: JsonValue = Field(
        default=None, description="Text or token ids, one text or several; each gets a vector."
    )
    content: JsonValue = Field(default=None, description="llama-server's name of input.")
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description="base64: float32 numbers, little-endian."
    )


class EmbedRequest(VectorRequest):
    """`POST /embed`, that of text-embeddings-inference."""

    inputs: JsonValue = Field(description="Text, or several; token ids in their place.")


class RankRequest(PooledRequest):
    """A request for scores of pairs of texts."""

    raw_scores: bool | None = Field(
        default=None, description="True: scores as the model gives them, not from 0 to 1."
    )


class RerankRequest(RankRequest):
    """`POST /v1/rerank` as Jina and Cohere have it, with `documents`, or as TEI has it, with `texts`."""

    query: JsonValue = Field(description="A text, or an object with a `text`.")
    documents: JsonValue = Field(default=None, description="Texts, or objects with a `text`.")
    top_n: AtMost | None = Field(
        default=None, description="So many of the best are answered; all by default."
    )
    top_k: AtMost | None = Field(default=None, description="Voyage's name of top_n.")
    return_documents: bool | None = Field(default=None, description="True: answers hold the documents.")
    rank_fields: Annotated[list[Name], Field(min_length=1, max_length=64)] | None = Field(
        default=None,
        description="The fields of documents that are objects which are read, by default `text`.",
    )
    max_tokens_per_doc: Positive | None = Field(
        default=None, description="Cohere's: a pair with a longer document loses its end; so many tokens."
    )
    texts: JsonValue = Field(default=None, description="TEI's name of documents.")
    return_text: bool | None = Field(default=None, description="TEI's name of return_documents.")


class ScoreRequest(RankRequest):
    """`POST /v1/score`, vLLM's."""

    text_1: JsonValue = Field(default=None, description="One text, or as many as text_2 has.")
    text_2: JsonValue = Field(default=None, description="One text or several.")
    data_1: JsonValue = Field(default=None, description="Another name of text_1.")
    data_2: JsonValue = Field(default=None, description="Another name of text_2.")
    queries: JsonValue = Field(default=None, description="Another name of text_1.")
    documents: JsonValue = Field(default=None, description="Another name of text_2.")
