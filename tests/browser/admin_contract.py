"""What the page expects of the routes that manage models and count usage, where a server has them.

A stand-in with a state: it shows how the page looks with them, and that it sends what they take.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import StreamingResponse

router = APIRouter()

MODELS: dict[str, dict[str, Any]] = {
    "demo": {
        "id": "demo",
        "state": "ready",
        "type": "Q4_K_M",
        "size_bytes": 14_600_000,
        "fits": True,
        "pinned": False,
        "n_running": 1,
        "last_used": 1_700_000_000,
        "loss": {
            "Q8_0": {"perplexity": 8.11, "kl_divergence": 0.0012, "same_top_token": 0.987},
            "Q5_K_M": {"perplexity": 8.16, "kl_divergence": 0.0094, "same_top_token": 0.961},
            "Q4_K_M": {"perplexity": 8.27, "kl_divergence": 0.0287, "same_top_token": 0.934},
        },
    },
    "lmsys/vicuna-7b-v1.5": {
        "id": "lmsys/vicuna-7b-v1.5",
        "state": "available",
        "type": "Q4_K_M",
        "size_bytes": 4_081_000_000,
        "fits": False,
        "pinned": False,
        "n_running": 0,
        "last_used": None,
    },
}


@router.get("/admin/models")
async def list_models() -> dict[str, Any]:
    return {"data": list(MODELS.values())}


@router.post("/admin/models/pull")
async def pull(request: Request) -> StreamingResponse:
    body = await request.json()

    async def events() -> AsyncIterator[str]:
        for done in range(0, 101, 10):
            event = {
                "status": f"pulling {','.join(body['types'])}",
                "completed": done * 10**7,
                "total": 10**9,
            }
            yield f"data: {json.dumps(event)}\n\n"
            await asyncio.sleep(0.05)
        MODELS[body["model"]] = {**MODELS["demo"], "id": body["model"], "state": "available", "loss": None}

    return StreamingResponse(events(), media_type="text/event-stream")


@router.post("/admin/models/{model:path}/{action}")
async def act(model: str, action: str) -> dict[str, Any]:
    found = MODELS[model]
    found.update({"load": {"state": "ready"}, "unload": {"state": "available"}}.get(action, {}))
    found.update({"pin": {"pinned": True}, "unpin": {"pinned": False}}.get(action, {}))
    return found


@router.get("/admin/usage")
async def usage() -> dict[str, Any]:
    rows = [("2026-11-29", "alice", 31, 20_100, 9_300), ("2026-11-28", "bob", 12, 4_000, 2_500)]
    return {
        "data": [
            {
                "day": day,
                "key": key,
                "model": "demo",
                "requests": requests,
                "prompt_tokens": prompt,
                "completion_tokens": completion,
            }
            for day, key, requests, prompt, completion in rows
        ]
    }
