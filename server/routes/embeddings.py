"""Vectors of texts, and scores of pairs: OpenAI's routes, llama-server's, TEI's, Cohere's, vLLM's."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.embeddings.schemas import EmbeddingRequest, EmbedRequest, RerankRequest, ScoreRequest
from server.http.dependencies import api_of
from server.http.openapi import json_body
from server.http.pool import answer_pooled

router = APIRouter(tags=["Embeddings"])


@router.post("/v1/embeddings", openapi_extra=json_body(EmbeddingRequest))
async def create_embeddings(request: Request) -> Response:
    """A vector of each text, as float numbers or as base64."""
    return await answer_pooled(api_of(request), request, "embeddings")


@router.post("/embedding", openapi_extra=json_body(EmbeddingRequest))
async def create_embedding(request: Request) -> Response:
    """llama-server's form: a list of vectors per text, one, or one per token where the model doesn't pool."""
    return await answer_pooled(api_of(request), request, "embedding")


@router.post("/embeddings", include_in_schema=False)
async def create_embeddings_unversioned(request: Request) -> Response:
    """OpenAI's form; llama-server's with `content`, or where the model doesn't pool."""
    return await answer_pooled(api_of(request), request, "unversioned")


@router.post("/embed", openapi_extra=json_body(EmbedRequest))
async def embed(request: Request) -> Response:
    """text-embeddings-inference's form: a list of vectors."""
    return await answer_pooled(api_of(request), request, "embed")


@router.post("/embed_all", openapi_extra=json_body(EmbedRequest))
async def embed_all(request: Request) -> Response:
    """text-embeddings-inference's form: a list of the vectors of each text's tokens."""
    return await answer_pooled(api_of(request), request, "embed_all")


@router.post("/v1/rerank", openapi_extra=json_body(RerankRequest))
@router.post("/v2/rerank", include_in_schema=False)
@router.post("/rerank", include_in_schema=False)
@router.post("/v1/reranking", include_in_schema=False)
@router.post("/reranking", include_in_schema=False)
async def rerank(request: Request) -> Response:
    """Documents in the order in which they answer a query: Jina's and Cohere's form, or TEI's by `texts`."""
    return await answer_pooled(api_of(request), request, "rerank")


@router.post("/v1/score", openapi_extra=json_body(ScoreRequest))
@router.post("/score", include_in_schema=False)
async def score(request: Request) -> Response:
    """vLLM's form: the score of each pair of texts."""
    return await answer_pooled(api_of(request), request, "score")
