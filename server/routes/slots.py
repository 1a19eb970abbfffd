"""`/slots`, llama-server's: what each slot of a loaded model does, and what it holds, kept in files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from models.errors import RequestError, WorkerError
from server.engine.sampling_params import SamplingParams
from server.engine.slot_states import SlotState, SlotTask
from server.http import refusals
from server.http.dependencies import api_of
from server.http.error_response import error_response
from server.http.openapi import json_body
from server.ipc.messages import ChangeSlot, ChangeSlotReply
from server.llama_server.schemas import SlotFile

router = APIRouter(tags=["Metrics"])

RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp's seed for "any"."""
Action = Literal["save", "restore", "erase"]
_ACTIONS: Mapping[str, Action] = {"save": "save", "restore": "restore", "erase": "erase"}
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_TEXTS = ("stop", "logit_bias", "dry_sequence_breakers")


@router.get("/slots")
async def slots(request: Request, model: str | None = None, fail_on_no_slot: str = "") -> Response:
    """Each slot of a loaded model, and the request that has it; nothing of what clients say.

    With `fail_on_no_slot` it is 503 while no slot is idle. Loads nothing.
    """
    api = api_of(request)
    if not api.config.slots:
        return error_response(refusals.slots_are_off())
    name = api.resolve(request, model)
    states = (await api.service.slots(name)).slots
    if fail_on_no_slot and all(state.task is not None for state in states):
        raise WorkerError(f"no slot of {name} is idle; send the request to another server, or again later")
    return JSONResponse([_slot_object(state) for state in states])


@router.post("/slots/{slot}", openapi_extra=json_body(SlotFile))
async def change_slot(
    request: Request, slot: str, action: str | None = None, model: str | None = None
) -> Response:
    """Keep what a slot holds in a file (`save`), fill it from one (`restore`), or empty it (`erase`).

    Waits until no request has the slot. Requests get a slot by `id_slot`.
    """
    api = api_of(request)
    name = api.resolve(request, model)
    if not re.fullmatch(r"[0-9]{1,9}", slot):
        raise RequestError(f"the slot is {slot!r:.40}; it must be a number, as GET /slots has it", "id_slot")
    number = int(slot)
    kind = _ACTIONS.get(action or "")
    if kind is None:
        raise RequestError(f"'action' is {action!r:.40}; it must be save, restore or erase", param="action")
    path = ""
    if kind != "erase":
        if api.config.slot_save_path is None:
            return error_response(refusals.slots_are_not_kept())
        body = await api.read_small(request, SlotFile)
        path = _path(api.config.slot_save_path, body.filename)
    reply = await api.service.ask(name, ChangeSlot(action=kind, slot=number, path=path), ChangeSlotReply)
    return JSONResponse({"id_slot": number, **_changed(kind, Path(path).name, reply)})


def _changed(action: Action, file: str, reply: ChangeSlotReply) -> dict[str, Any]:
    if action == "erase":
        return {"n_erased": reply.n_tokens}
    done, moved = ("saved", "written") if action == "save" else ("restored", "read")
    return {
        "filename": file,
        f"n_{done}": reply.n_tokens,
        f"n_{moved}": reply.n_bytes,
        "timings": {f"{action}_ms": reply.ms},
    }


def _path(folder: str, name: str | None) -> str:
    """Return the path of a client's file in the folder. Raises RequestError for what may be elsewhere."""
    if name is None or not _FILE_NAME.fullmatch(name):
        raise RequestError(
            "'filename' must be a file's name without a folder: letters, digits, '.', '_' and '-', none of"
            " them a '.' at its beginning, at most 200",
            param="filename",
        )
    return str(Path(folder).absolute() / name)


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
