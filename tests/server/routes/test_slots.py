from __future__ import annotations

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
