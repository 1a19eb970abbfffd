"""`GET /slots`, llama-server's: what each slot of a loaded model does this moment."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from models.errors import WorkerError
from server.engine.sampling_params import SamplingParams
from server.engine.slot_states import SlotState, SlotTask
from server.http.dependencies import api_of
from server.http.error_response import error_response
from server.openai import errors

router = APIRouter(tags=["Metrics"])

RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp's seed for "any"."""
_TEXTS = ("stop", "logit_bias", "dry_sequence_breakers")


@router.get("/slots")
async def slots(request: Request, model: str | None = None, fail_on_no_slot: str = "") -> Response:
    """Each slot of a loaded model, and the request that has it; nothing of what clients say.

    With `fail_on_no_slot` it is 503 while no slot is idle. Loads nothing.
    """
    api = api_of(request)
    if not api.config.slots:
        return error_response(errors.slots_are_off())
    name = api.resolve(request, model)
    states = (await api.service.slots(name)).slots
    if fail_on_no_slot and all(state.task is not None for state in states):
        raise WorkerError(f"no slot of {name} is idle; send the request to another server, or again later")
    return JSONResponse([_slot_object(state) for state in states])


def _slot_object(state: SlotState) -> dict[str, Any]:
    slot: dict[str, Any] = {
        "id": state.id,
        "n_ctx": state.n_ctx,
        "speculative": state.speculative,
        "is_processing": state.task is not None,
        "n_prompt_tokens": state.n_held,
    }
    return slot if state.task is None else slot | _task_fields(state.task)


def _task_fields(task: SlotTask) -> dict[str, Any]:
    return {
        "id_task": task.id,
        "request_id": task.request_id,
        "n_prompt_tokens_processed": task.n_processed,
        "n_prompt_tokens_cache": task.n_cached,
        "params": _params(task),
        "next_token": [
            {
                "has_next_token": task.n_left != 0,
                "has_new_line": task.has_new_line,
                "n_remain": -1 if task.n_left is None else task.n_left,
                "n_decoded": task.n_generated,
            }
        ],
    }


def _params(task: SlotTask) -> dict[str, Any]:
    params: SamplingParams = task.params
    values = {name: each for name, each in msgspec.structs.asdict(params).items() if name not in _TEXTS}
    limit = -1 if params.max_tokens is None else params.max_tokens
    return values | {
        "seed": RANDOM_SEED if params.seed is None else params.seed,
        "max_tokens": limit,
        "n_predict": limit,
        "n_keep": task.n_keep,
        "n_probs": task.n_probs,
        "lora": [{"id": id_, "scale": scale} for id_, scale in task.adapters],
    }
