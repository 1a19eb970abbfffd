"""Every route for the table of keys: a request that names the model `demo`, or that none does.

A new route needs a line here, as in `ROUTE_SCOPES`.
"""

from __future__ import annotations

from typing import Any

from tests.server.http_client import CHAT, TEXT

MESSAGES: dict[str, Any] = {**CHAT, "max_tokens": 4}
DEMO = {"model": "demo"}
RANKED: dict[str, Any] = {**DEMO, "query": "a", "documents": ["b"]}

NAMES_A_MODEL: dict[str, dict[str, Any]] = {
    "POST /chat/completions": {"json": CHAT},
    "POST /chat/completions/input_tokens": {"json": CHAT},
    "POST /completions": {"json": TEXT},
    "POST /completion": {"json": {**DEMO, "prompt": "a"}},
    "POST /infill": {"json": {**DEMO, "input_prefix": "a", "input_suffix": "b"}},
    "POST /messages": {"json": MESSAGES},
    "POST /messages/count_tokens": {"json": CHAT},
    "POST /responses": {"json": {**DEMO, "input": "Hi"}},
    "POST /responses/input_tokens": {"json": {**DEMO, "input": "Hi"}},
    "POST /tokenize": {"json": {**DEMO, "content": "Hi"}},
    "POST /detokenize": {"json": {**DEMO, "tokens": [65]}},
    "POST /apply-template": {"json": CHAT},
    "GET /tokenizer_info": {"params": DEMO},
    "GET /models/{model:path}": {},
    "GET /props": {"params": DEMO},
    "GET /lora-adapters": {"params": DEMO},
    "POST /lora-adapters": {"params": DEMO, "json": []},
    "POST /admin/adapters": {"json": {**DEMO, "path": "/nothing"}},
    "GET /slots": {"params": DEMO},
    "POST /slots/{slot}": {"params": {**DEMO, "action": "erase"}},
    "POST /embeddings": {"json": {**DEMO, "input": "a"}},
    "POST /embedding": {"json": {**DEMO, "content": "a"}},
    "POST /embed": {"json": {**DEMO, "inputs": "a"}},
    "POST /embed_all": {"json": {**DEMO, "inputs": "a"}},
    "POST /rerank": {"json": RANKED},
    "POST /v2/rerank": {"json": RANKED},
    "POST /reranking": {"json": RANKED},
    "POST /api/chat": {"json": CHAT},
    "POST /api/generate": {"json": TEXT},
    "POST /api/embed": {"json": {**DEMO, "input": "a"}},
    "POST /api/embeddings": {"json": {**DEMO, "prompt": "a"}},
    "POST /api/show": {"json": DEMO},
    "DELETE /api/delete": {"json": DEMO},
    "POST /score": {"json": {**DEMO, "text_1": "a", "text_2": "b"}},
    "POST /invocations": {"json": CHAT},
    "GET /v2/models/{model:path}": {},
    "GET /v2/models/{model:path}/ready": {},
    "POST /v2/models/{model:path}/infer": {
        "json": {"inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}
    },
    "POST /v2/models/{model:path}/generate": {"json": {"text_input": "a"}},
    "POST /v2/models/{model:path}/generate_stream": {"json": {"text_input": "a"}},
    "GET /model_info": {"params": DEMO},
    "GET /get_model_info": {"params": DEMO},
}
"""A request of each route that names a model: what is sent to httpx with its method and path."""

NAMES_NONE = frozenset(
    {
        "GET /",
        "GET /health",
        "GET /ready",
        "GET /ping",
        "GET /version",
        "GET /v2",
        "GET /v2/health/live",
        "GET /v2/health/ready",
        "GET /server_info",  # it lists those that the key may use
        "GET /get_server_info",
        "GET /loads",
        "GET /docs",
        "GET /web/assets/{path:path}",
        "GET /openapi.json",
        "GET /api/version",
        "GET /api/tags",  # it lists those that the key may use
        "GET /api/ps",
        "POST /api/pull",
        "POST /api/create",
        "POST /api/copy",
        "POST /api/push",
        "GET /api/blobs/{digest}",
        "POST /api/blobs/{digest}",
        "GET /chat/completions",
        "GET /chat/completions/{completion_id}",
        "POST /chat/completions/{completion_id}",
        "DELETE /chat/completions/{completion_id}",
        "GET /chat/completions/{completion_id}/messages",
        "GET /responses",
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
        "POST /batches",  # its lines name them
        "GET /batches",
        "GET /batches/{batch_id}",
        "POST /batches/{batch_id}/cancel",
        "GET /models",  # it lists those that the key may use
        "GET /models/",
        "GET /admin/adapters",  # it lists those of such models
        "GET /admin/adapters/{adapter_id}",  # an adapter's model counts, see test_admin
        "DELETE /admin/adapters/{adapter_id}",
        "GET /admin/models",  # an administrator has all models
        "GET /admin/models/{model:path}",
        "POST /admin/models/pull",
        "POST /admin/models/{model:path}/load",
        "POST /admin/models/{model:path}/unload",
        "POST /admin/models/{model:path}/pin",
        "POST /admin/models/{model:path}/unpin",
        "GET /admin/jobs",
        "GET /admin/jobs/{job_id}",
        "GET /admin/jobs/{job_id}/events",
        "POST /admin/jobs/{job_id}/cancel",
        "GET /admin/requests",
        "POST /admin/requests/{request_id}/cancel",
        "GET /admin/inspect",
        "GET /tools",
        "POST /tools",
        "GET /metrics",
        "GET /web/chats",
        "POST /web/chats",
        "DELETE /web/chats",
        "GET /web/chats/{chat_id}",
        "POST /web/chats/{chat_id}",
        "DELETE /web/chats/{chat_id}",
        "GET /web/chats/{chat_id}/export",
        "POST /web/chats/{chat_id}/turns",  # the chat comes first: without one there is no model either
        "POST /web/chats/{chat_id}/stop",
        "GET /web/chats/{chat_id}/events",
        "GET /admin/usage",
        "POST /admin/reload",
        "GET /admin/keys",
        "GET /usage",  # the key's own
    }
)
"""The routes whose requests name no model."""
