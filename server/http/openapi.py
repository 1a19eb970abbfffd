"""The OpenAPI document's request bodies and keys, which FastAPI doesn't know: we read both ourselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server.anthropic.requests.schemas import CountTokensRequest, MessagesRequest
from server.batches.requests import BatchCreation
from server.embeddings.schemas import EmbeddingRequest, EmbedRequest, RerankRequest, ScoreRequest
from server.http.route_scopes import ROUTE_SCOPES
from server.llama_server.schemas import InfillRequest, NativeCompletionRequest, SlotFile
from server.ollama.schemas import (
    NamedRequest,
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    PullRequest,
    ShowRequest,
)
from server.openai.requests.schemas import (
    ApplyTemplateRequest,
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
)
from server.responses.schemas import (
    ConversationCreation,
    ItemsCreation,
    MetadataUpdate,
    ResponsesRequest,
)

_SCHEMAS: tuple[type[BaseModel], ...] = (
    ApplyTemplateRequest,
    BatchCreation,
    ChatCompletionRequest,
    CompletionRequest,
    InfillRequest,
    ConversationCreation,
    CountTokensRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    EmbedRequest,
    ItemsCreation,
    MessagesRequest,
    MetadataUpdate,
    NamedRequest,
    OllamaChatRequest,
    OllamaEmbedRequest,
    OllamaEmbeddingsRequest,
    OllamaGenerateRequest,
    PullRequest,
    RerankRequest,
    NativeCompletionRequest,
    ResponsesRequest,
    ScoreRequest,
    ShowRequest,
    SlotFile,
    TokenizeRequest,
)
_KEY_HEADERS: dict[str, dict[str, str]] = {
    "ApiKey": {"type": "http", "scheme": "bearer", "description": "A key, where the server asks for keys."},
    "ApiKeyHeader": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}
"""The security schemes: the headers in which a key may come."""
_REFERENCE = "#/components/schemas/{model}"


def json_body(schema: type[BaseModel]) -> dict[str, Any]:
    """Return a route's `openapi_extra`, which names the schema of its body."""
    reference = {"$ref": _REFERENCE.format(model=schema.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def form_body(file: str, *fields: str) -> dict[str, Any]:
    """Return a route's `openapi_extra` for a form with a file and texts, all of them required."""
    properties = {
        file: {"type": "string", "format": "binary"},
        **{each: {"type": "string"} for each in fields},
    }
    schema = {"type": "object", "properties": properties, "required": [file, *fields]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the whole OpenAPI document, which is made once, for the first request of it."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, definitions = models_json_schema(
            [(model, "validation") for model in _SCHEMAS], ref_template=_REFERENCE
        )
        schema.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        _add_keys(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _add_keys(schema: dict[str, Any]) -> None:
    """Say of each operation which scope its key needs."""
    schema["components"]["securitySchemes"] = _KEY_HEADERS
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            scope = ROUTE_SCOPES.get(f"{method.upper()} {path.removeprefix('/v1')}", "admin")
            if scope != "open":
                rights = [] if scope == "by_body" else [scope]
                operation["security"] = [{name: rights} for name in _KEY_HEADERS]
