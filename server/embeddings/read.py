"""`read_pooled`: a body of one of the routes for vectors and scores as a `Pool`, and its form. Pure."""

from __future__ import annotations

from typing import Any, Literal, assert_never

import msgspec

from models.errors import RequestError
from server.embeddings.form import AnswerForm, Protocol
from server.embeddings.inputs import document_text, documents_of, ranked, scored, strings_of, texts_of
from server.embeddings.schemas import (
    EmbeddingRequest,
    EmbedRequest,
    PooledRequest,
    RerankRequest,
    ScoreRequest,
    VectorRequest,
)
from server.ipc.messages import Pool
from server.ipc.prompts import PooledInputs
from server.ollama.schemas import OllamaEmbeddingsRequest, OllamaEmbedRequest

PooledPurpose = Literal[
    "embeddings",
    "unversioned",
    "embedding",
    "embed",
    "embed_all",
    "rerank",
    "score",
    "ollama_embed",
    "ollama_embeddings",
]
"""The route that got a body: `embeddings` is OpenAI's, `unversioned` the same without `/v1`, `embedding`
llama-server's, `embed` and `embed_all` TEI's, `ollama_…` Ollama's."""

Cut = Literal["end", "start"] | None
Wants = Literal["vectors", "rows", "any"]

SCHEMAS: dict[PooledPurpose, type[PooledRequest]] = {
    "embeddings": EmbeddingRequest,
    "unversioned": EmbeddingRequest,
    "embedding": EmbeddingRequest,
    "embed": EmbedRequest,
    "embed_all": EmbedRequest,
    "rerank": RerankRequest,
    "score": ScoreRequest,
    "ollama_embed": OllamaEmbedRequest,
    "ollama_embeddings": OllamaEmbeddingsRequest,
}
"""The schema of each route's body."""

_QUERY = ("query", "search_query", "retrieval.query", "retrieval_query")
_DOCUMENT = (
    "document",
    "passage",
    "search_document",
    "retrieval.passage",
    "retrieval_document",
    "corpus",
)
_ALIKE = (_QUERY, _DOCUMENT)
"""The names that models and services have for the same prompt."""


def read_pooled(
    purpose: PooledPurpose, request: PooledRequest, request_id: str, timeout_s: float | None
) -> tuple[Pool, AnswerForm]:
    """Return the message and the answer's form of a request of the route `purpose`. Raises RequestError."""
    reader = _Reader(request, request_id, timeout_s)
    match request:
        case EmbeddingRequest():
            return reader.embeddings(request, purpose)
        case EmbedRequest():
            return reader.embed(request, every_token=purpose == "embed_all")
        case RerankRequest():
            return reader.rerank(request)
        case ScoreRequest():
            return reader.score(request)
        case OllamaEmbedRequest():
            return reader.ollama_embed(request)
        case OllamaEmbeddingsRequest():
            return reader.ollama_embeddings(request)
    raise AssertionError(f"no reader of {type(request).__name__}")


class _Reader:
    """Reads one request."""

    def __init__(self, request: PooledRequest, request_id: str, timeout_s: float | None) -> None:
        self._request = request
        self._id = request_id
        self._timeout_s = timeout_s

    def embeddings(self, request: EmbeddingRequest, purpose: PooledPurpose) -> tuple[Pool, AnswerForm]:
        """Read OpenAI's form; one with `content` is llama-server's, on any route."""
        if request.input is None and request.content is None:
            raise _missing("input")
        param = "input" if request.input is not None else "content"
        texts = texts_of(request.input if param == "input" else request.content, param)
        protocol: Protocol = "llama_server"
        if param == "input" and purpose in ("embeddings", "unversioned"):
            protocol = "openai" if purpose == "embeddings" else "unversioned"
        form = AnswerForm(protocol=protocol, n_answers=len(texts), base64=request.encoding_format == "base64")
        wants: Wants = "vectors" if protocol == "openai" else "any"
        return self._vectors(request, PooledInputs(texts), param, wants), form

    def embed(self, request: EmbedRequest, *, every_token: bool) -> tuple[Pool, AnswerForm]:
        """Read TEI's form."""
        texts = texts_of(request.inputs, "inputs")
        pool = self._vectors(request, PooledInputs(texts), "inputs", "rows" if every_token else "vectors")
        return pool, AnswerForm(protocol="tei", n_answers=len(texts), every_token=every_token)

    def rerank(self, request: RerankRequest) -> tuple[Pool, AnswerForm]:
        """Read the documents of Jina's and Cohere's form, or the texts of TEI's."""
        query = document_text(request.query, request.rank_fields, "query")
        is_tei = request.documents is None and request.texts is not None
        param = "texts" if is_tei else "documents"
        given: Any = request.texts if is_tei else request.documents
        if given is None:
            raise _missing("documents")
        texts = strings_of(given, param) if is_tei else documents_of(given, request.rank_fields, param)
        top_n = request.top_n if request.top_n is not None else request.top_k
        returns = request.return_text if is_tei else request.return_documents
        form = AnswerForm(
            protocol="tei_rerank" if is_tei else "rerank",
            n_answers=len(texts),
            raw_scores=request.raw_scores is True,
            top_n=top_n,
            documents=tuple(given) if returns else None,
        )
        return self._pool(ranked(query, texts), param, max_tokens=request.max_tokens_per_doc), form

    def score(self, request: ScoreRequest) -> tuple[Pool, AnswerForm]:
        """Read the texts of vLLM's form, under any of their names."""
        first = _first_given(request, "text_1", "data_1", "queries")
        second = _first_given(request, "text_2", "data_2", "documents")
        firsts, seconds = (texts_of(getattr(request, name), name) for name in (first, second))
        inputs = scored(firsts, seconds, (first, second))
        form = AnswerForm(
            protocol="score", n_answers=len(inputs.pairs), raw_scores=request.raw_scores is True
        )
        return self._pool(inputs, second), form

    def ollama_embed(self, request: OllamaEmbedRequest) -> tuple[Pool, AnswerForm]:
        """Read Ollama's form. It may have no text, and then the model is only loaded."""
        texts = strings_of(request.input, "input") if request.input not in (None, "", []) else ()
        cut: Cut = "end" if request.truncate is None else cut_of(request)
        pool = self._pool(PooledInputs(texts), "input", dimensions=request.dimensions or None)
        form = AnswerForm(protocol="ollama", n_answers=len(texts))
        return msgspec.structs.replace(pool, cut=cut), form

    def ollama_embeddings(self, request: OllamaEmbeddingsRequest) -> tuple[Pool, AnswerForm]:
        """Read Ollama's older form, of one text at most."""
        texts = (request.prompt,) if request.prompt else ()
        form = AnswerForm(protocol="ollama_single", n_answers=len(texts))
        return self._pool(PooledInputs(texts), "prompt"), form

    # --- what several have ---------------------------------------------------------------------------

    def _vectors(self, request: VectorRequest, inputs: PooledInputs, param: str, wants: Wants) -> Pool:
        name = request.prompt_name or request.input_type or request.task
        return self._pool(
            inputs,
            param,
            wants=wants,
            dimensions=request.dimensions,
            norm=_norm(request),
            prompts=() if name is None else ((name,) if request.prompt_name else alike(name)),
            must_have_prompt=request.prompt_name is not None,
            prompt_text=request.prompt,
            add_special=request.add_special_tokens is not False,
        )

    def _pool(
        self, inputs: PooledInputs, param: str, *, max_tokens: int | None = None, **fields: Any
    ) -> Pool:
        request = self._request
        cut = cut_of(request)
        if max_tokens is not None:
            cut = cut or "end"
        elif request.truncate_prompt_tokens not in (None, -1):
            max_tokens = request.truncate_prompt_tokens
        return Pool(
            id=self._id,
            inputs=inputs,
            cut=cut,
            max_tokens=max_tokens,
            param=param,
            timeout_s=self._timeout_s,
            priority=request.priority or 0,
            keep_alive_s=request.keep_alive,
            **fields,
        )


def cut_of(request: PooledRequest) -> Cut:
    """Return the side that a text which is too long loses; None: it isn't cut, and the request fails."""
    match request.truncate:
        case "START" | "LEFT":
            return "start"
        case "END" | "RIGHT":
            return "end"
        case "NONE":
            return None
        case True | False | None:
            pass
        case _:
            assert_never(request.truncate)
    is_cut = request.truncate or request.truncation or request.truncate_prompt_tokens is not None
    if not is_cut:
        return None
    return "start" if request.truncation_direction in ("Left", "left") else "end"


def alike(name: str) -> tuple[str, ...]:
    """Return a prompt's name and the other names that the same one has."""
    for names in _ALIKE:
        if name in names:
            return (name, *(other for other in names if other != name))
    return (name,)


def _norm(request: VectorRequest) -> int:
    if request.embd_normalize is not None:
        return request.embd_normalize
    is_normalized = request.normalize if request.normalize is not None else request.normalized
    return -1 if is_normalized is False else 2


def _first_given(request: ScoreRequest, *names: str) -> str:
    for name in names:
        if getattr(request, name) is not None:
            return name
    raise _missing(names[0])


def _missing(param: str) -> RequestError:
    return RequestError(
        f"Missing required parameter: '{param}'", param=param, code="missing_required_parameter"
    )
