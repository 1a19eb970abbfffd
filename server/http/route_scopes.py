"""`ROUTE_SCOPES`: the right that each route of the application asks of an API key."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from server.keys.caller import KeyScope

RouteScope = Literal["open", "by_body", KeyScope]
"""`open`: the route needs no key, since monitors and browsers come without one; it holds nothing secret.
`by_body`: it needs a key, and its body says which right of it."""

_BY_SCOPE: Final[Mapping[RouteScope, tuple[str, ...]]] = {
    "open": (
        "GET /",
        "GET /health",
        "GET /ready",
        "GET /docs",
        "GET /web/assets/{path:path}",
        "GET /openapi.json",
        "GET /api/version",
        "GET /ping",
        "GET /version",
        "GET /v2",
        "GET /v2/health/live",
        "GET /v2/health/ready",
    ),
    "by_body": ("POST /invocations",),
    "infer": (
        "POST /chat/completions",
        "POST /chat/completions/input_tokens",
        "GET /chat/completions",
        "GET /chat/completions/{completion_id}",
        "POST /chat/completions/{completion_id}",
        "DELETE /chat/completions/{completion_id}",
        "GET /chat/completions/{completion_id}/messages",
        "POST /completions",
        "POST /completion",
        "POST /infill",
        "POST /messages",
        "POST /messages/count_tokens",
        "POST /responses",
        "GET /responses",
        "POST /responses/input_tokens",
        "GET /responses/{response_id}",
        "DELETE /responses/{response_id}",
        "POST /responses/{response_id}/cancel",
        "GET /responses/{response_id}/input_items",
        "POST /conversations",
        "GET /conversations/{conversation_id}",
        "POST /conversations/{conversation_id}",
        "DELETE /conversations/{conversation_id}",
        "GET /conversations/{conversation_id}/items",
        "POST /conversations/{conversation_id}/items",
        "GET /conversations/{conversation_id}/items/{item_id}",
        "DELETE /conversations/{conversation_id}/items/{item_id}",
        "POST /files",
        "GET /files",
        "GET /files/{file_id}",
        "GET /files/{file_id}/content",
        "DELETE /files/{file_id}",
        "POST /batches",
        "GET /batches",
        "GET /batches/{batch_id}",
        "POST /batches/{batch_id}/cancel",
        "POST /api/chat",
        "POST /api/generate",
        "POST /tokenize",
        "POST /detokenize",
        "POST /apply-template",
        "GET /tokenizer_info",
        "GET /usage",
        "POST /v2/models/{model:path}/infer",
        "POST /v2/models/{model:path}/generate",
        "POST /v2/models/{model:path}/generate_stream",
        "GET /web/chats",
        "POST /web/chats",
        "DELETE /web/chats",
        "GET /web/chats/{chat_id}",
        "POST /web/chats/{chat_id}",
        "DELETE /web/chats/{chat_id}",
        "GET /web/chats/{chat_id}/export",
        "POST /web/chats/{chat_id}/turns",
        "POST /web/chats/{chat_id}/stop",
        "GET /web/chats/{chat_id}/events",
    ),
    "embed": (
        "POST /embeddings",
        "POST /embedding",
        "POST /embed",
        "POST /embed_all",
        "POST /rerank",
        "POST /v2/rerank",
        "POST /reranking",
        "POST /score",
        "POST /api/embed",
        "POST /api/embeddings",
    ),
    "models": (
        "GET /models",
        "GET /models/",
        "GET /models/{model:path}",
        "GET /v2/models/{model:path}",
        "GET /v2/models/{model:path}/ready",
        "GET /server_info",
        "GET /get_server_info",
        "GET /model_info",
        "GET /get_model_info",
        "GET /props",
        "GET /lora-adapters",
        "GET /api/tags",
        "GET /api/ps",
        "POST /api/show",
    ),
    "admin": (
        "GET /admin/adapters",
        "POST /admin/adapters",
        "GET /admin/adapters/{adapter_id}",
        "DELETE /admin/adapters/{adapter_id}",
        "POST /lora-adapters",
        "GET /admin/requests",
        "POST /admin/requests/{request_id}/cancel",
        "POST /admin/models/pull",
        "GET /admin/jobs",
        "GET /admin/jobs/{job_id}",
        "GET /admin/jobs/{job_id}/events",
        "POST /admin/jobs/{job_id}/cancel",
        "GET /admin/models",
        "GET /admin/models/{model:path}",
        "POST /admin/models/{model:path}/load",
        "POST /admin/models/{model:path}/unload",
        "POST /admin/models/{model:path}/pin",
        "POST /admin/models/{model:path}/unpin",
        "GET /admin/inspect",
        "GET /admin/usage",
        "GET /admin/keys",
        "POST /api/pull",
        "DELETE /api/delete",
        "POST /api/copy",
        "POST /api/create",
        "POST /api/push",
        "GET /api/blobs/{digest}",
        "POST /api/blobs/{digest}",
        "POST /admin/reload",
        "POST /slots/{slot}",
        "GET /tools",
        "POST /tools",
    ),
    "metrics": ("GET /metrics", "GET /slots", "GET /loads"),
}

ROUTE_SCOPES: Final[Mapping[str, RouteScope]] = MappingProxyType(
    {route: scope for scope, routes in _BY_SCOPE.items() for route in routes}
)
"""The scope of each method and path; a path is without its `/v1`, which many routes have in addition."""


OPEN_PATHS: Final = frozenset(route.removeprefix("GET ") for route in _BY_SCOPE["open"])
"""The paths of the routes that need no key."""


def route_scope(method: str, path: str) -> RouteScope:
    """Return the scope of a route, by its path's template. Raises KeyError for one without a line."""
    return ROUTE_SCOPES[f"{method} {path.removeprefix('/v1')}"]
