"""`GET /props`, llama-server's: the facts about a model that its clients look up before they begin."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request

from models.version import VERSION
from server.http.dependencies import api_of
from server.ipc.model_spec import ModelInfo
from server.llama_server.settings import sampling_settings

router = APIRouter(tags=["OpenAI"])


@router.get("/props")
async def props(request: Request, model: str | None = None) -> dict[str, Any]:
    """A model's context, template and slots; null where only a loaded model tells. Loads nothing."""
    api = api_of(request)
    status = api.service.find(api.resolve(request, model))
    info = status.info
    sampling = {} if info is None else {"params": sampling_settings(info.sampling)}
    return {
        "default_generation_settings": {"n_ctx": status.n_ctx, **sampling},
        "total_slots": None if info is None else info.n_parallel,
        "model_alias": status.name,
        "model_path": None if info is None else info.path,
        "chat_template": None if info is None else info.chat_template,
        "bos_token": None if info is None else info.bos_token,
        "eos_token": None if info is None else info.eos_token,
        "build_info": f"corral-{VERSION}",
        "kernels": None if info is None else msgspec.to_builtins(info.kernels),
        "placement": None if info is None else _placement(info),
        "modalities": {"vision": status.sees_images, "audio": False},
        "is_sleeping": status.state != "ready",
    }


def _placement(info: ModelInfo) -> dict[str, int]:
    """Return the share of GPUs in a model: their layers, and those of them whose experts the CPU has."""
    return {
        "gpu_layers": info.n_gpu_layers,
        "cpu_moe_layers": info.n_cpu_expert_layers,
        "cpu_moe_bytes": info.cpu_expert_bytes,
    }
