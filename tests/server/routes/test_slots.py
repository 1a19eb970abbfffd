from __future__ import annotations

from pathlib import Path

import pytest

from server.engine.sampling_params import SamplingParams
from server.engine.slot_states import SlotState, SlotTask
from tests.server.http_client import client_for, error_of
from tests.server.scripted_service import DEMO, IDLE, ScriptedService

TASK = SlotTask(
    id=4,
    request_id="chatcmpl-1",
    n_processed=5,
    n_cached=3,
    n_generated=2,
    n_left=None,
    has_new_line=True,
    params=SamplingParams(top_k=7, max_tokens=None),
    adapters=((1, 0.5),),
)
IDLE_SLOT = SlotState(id=0, n_ctx=2048, speculative=True, n_held=9)
BUSY_SLOT = SlotState(id=1, n_ctx=2048, speculative=True, n_held=10, task=TASK)


async def test_slots_have_llama_servers_fields() -> None:
    service = ScriptedService()
    service.slots_now = [IDLE_SLOT, BUSY_SLOT]
    async with client_for(service) as client:
        idle, busy = (await client.get("/slots")).json()
    assert idle == {
        "id": 0,
        "n_ctx": 2048,
        "speculative": True,
        "is_processing": False,
        "n_prompt_tokens": 9,
    }
    assert (busy["id"], busy["is_processing"], busy["id_task"]) == (1, True, 4)
    assert (busy["n_prompt_tokens_processed"], busy["n_prompt_tokens_cache"]) == (5, 3)
    assert busy["next_token"] == [
        {"has_next_token": True, "has_new_line": True, "n_remain": -1, "n_decoded": 2}
    ]
    params = busy["params"]
    assert (params["top_k"], params["n_predict"], params["seed"]) == (7, -1, 4294967295)
    assert params["lora"] == [{"id": 1, "scale": 0.5}]
    assert not {"stop", "logit_bias"} & set(params)


async def test_no_idle_slot_is_an_error_for_those_who_ask_so() -> None:
    service = ScriptedService()
    service.slots_now = [BUSY_SLOT]
    async with client_for(service) as client:
        assert (await client.get("/slots", params={"fail_on_no_slot": ""})).status_code == 200
        full = await client.get("/slots", params={"fail_on_no_slot": "1"})
        service.slots_now = [BUSY_SLOT, IDLE_SLOT]
        free = await client.get("/slots", params={"fail_on_no_slot": "1"})
    assert (full.status_code, free.status_code) == (503, 200)
    assert "no slot of demo is idle" in error_of(full)["message"]


async def test_a_model_that_is_not_loaded_stays_so() -> None:
    service = ScriptedService(models=[DEMO, IDLE])
    async with client_for(service) as client:
        answer = await client.get("/slots", params={"model": IDLE.name})
        unknown = await client.get("/slots", params={"model": "x"})
    assert (answer.status_code, unknown.status_code) == (503, 404)
    assert "not loaded" in error_of(answer)["message"]


async def test_slots_are_kept_in_files_brought_back_and_erased(tmp_path: Path) -> None:
    service = ScriptedService()
    async with client_for(service, slot_save_path=str(tmp_path)) as client:
        saved = await client.post("/slots/1?action=save", json={"filename": "a.bin"})
        restored = await client.post("/slots/0?action=restore", json={"filename": "a.bin"})
        erased = await client.post("/slots/2?action=erase")
    assert saved.json() == {
        "id_slot": 1,
        "filename": "a.bin",
        "n_saved": 84,
        "n_written": 1000,
        "timings": {"save_ms": 1.5},
    }
    assert restored.json() == {
        "id_slot": 0,
        "filename": "a.bin",
        "n_restored": 84,
        "n_read": 1000,
        "timings": {"restore_ms": 1.5},
    }
    assert erased.json() == {"id_slot": 2, "n_erased": 84}
    path = str(tmp_path / "a.bin")
    assert [(each.action, each.slot, each.path) for each in service.slot_changes] == [
        ("save", 1, path),
        ("restore", 0, path),
        ("erase", 2, ""),
    ]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/slots/0?action=save", {"filename": "../a"}, "filename"),
        ("/slots/0?action=save", {"filename": "a/b"}, "filename"),
        ("/slots/0?action=save", {"filename": ".a"}, "filename"),
        ("/slots/0?action=save", {"filename": "a\x00"}, "filename"),
        ("/slots/0?action=restore", {"filename": "a" * 201}, "filename"),
        ("/slots/0?action=restore", {}, "filename"),
        ("/slots/0?action=save", {"filename": "a", "other": 1}, "other"),
        ("/slots/0?action=move", {"filename": "a"}, "action"),
        ("/slots/0", {"filename": "a"}, "action"),
        ("/slots/x?action=erase", {}, "id_slot"),
        ("/slots/-1?action=erase", {}, "id_slot"),
    ],
)
async def test_wrong_wishes_reach_no_slot(
    tmp_path: Path, path: str, body: dict[str, str], param: str
) -> None:
    service = ScriptedService()
    async with client_for(service, slot_save_path=str(tmp_path)) as client:
        response = await client.post(path, json=body)
    assert response.status_code == 400
    assert error_of(response)["param"] == param
    assert not service.slot_changes


async def test_without_a_folder_slots_are_only_erased() -> None:
    async with client_for(ScriptedService()) as client:
        saved = await client.post("/slots/0?action=save", json={"filename": "a"})
        erased = await client.post("/slots/0?action=erase")
    assert (saved.status_code, error_of(saved)["code"]) == (501, "slots_are_not_kept")
    assert erased.status_code == 200


async def test_a_request_names_its_slot() -> None:
    service = ScriptedService()
    async with client_for(service) as client:
        for slot in (2, -1):
            await client.post("/completion", json={"prompt": "a", "id_slot": slot})
            await client.post("/v1/completions", json={"prompt": "a", "id_slot": slot})
    assert [request.slot for _, request in service.requests] == [2, 2, None, None]
