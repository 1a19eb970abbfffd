"""Ollama's routes for answers and vectors: `/api/chat`, `/api/generate`, `/api/embed`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.http.dependencies import api_of
from server.http.ollama import ollama_answer, ollama_vectors
from server.http.openapi import json_body
from server.ollama.schemas import (
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
)

router = APIRouter(tags=["Ollama"])


@router.post("/api/chat", openapi_extra=json_body(OllamaChatRequest))
async def create_ollama_chat(request: Request) -> Response:
    """Answer a conversation in Ollama's form, as lines of JSON or whole."""
    return await ollama_answer(api_of(request), request, "ollama_chat")


@router.post("/api/generate", openapi_extra=json_body(OllamaGenerateRequest))
async def create_ollama_text(request: Request) -> Response:
    """Answer a prompt in Ollama's form, as lines of JSON or whole."""
    return await ollama_answer(api_of(request), request, "ollama_generate")


@router.post("/api/embed", openapi_extra=json_body(OllamaEmbedRequest))
async def create_ollama_vectors(request: Request) -> Response:
    """A vector of each text, in Ollama's form."""
    return await ollama_vectors(api_of(request), request, "ollama_embed")


@router.post("/api/embeddings", openapi_extra=json_body(OllamaEmbeddingsRequest))
async def create_ollama_vector(request: Request) -> Response:
    """The vector of one text, in Ollama's older form."""
    return await ollama_vectors(api_of(request), request, "ollama_embeddings")
