from __future__ import annotations

import msgspec
import pytest

from server.ipc.model_spec import KernelReport
from tests.server.http_client import client_for, error_of
from tests.server.scripted_service import DEMO, IDLE, ScriptedService


@pytest.mark.parametrize(("model", "n_ctx", "slots"), [("demo", 2048, 8), (IDLE.name, 4096, None)])
async def test_the_context_is_that_of_the_list_loaded_or_not(
    model: str, n_ctx: int, slots: int | None
) -> None:
    async with client_for(ScriptedService(models=[DEMO, IDLE])) as client:
        body = (await client.get("/props", params={"model": model})).json()
    assert body["default_generation_settings"]["n_ctx"] == n_ctx
    assert body["total_slots"] == slots
    assert body["model_alias"] == model
    assert body["is_sleeping"] is (model != "demo")


async def test_without_a_model_it_is_the_default_one() -> None:
    async with client_for(ScriptedService(models=[DEMO])) as client:
        assert (await client.get("/props")).json()["model_alias"] == "demo"
        missing = await client.get("/props", params={"model": "none"})
    assert missing.status_code == 404
    assert error_of(missing)["code"] == "model_not_found"


async def test_the_matrix_kernels_are_named_once_the_model_is_loaded() -> None:
    kernels = KernelReport(by="corral", instruction_set="avx2", types=("Q4_K",), n_matrices=7)
    assert DEMO.info is not None
    status = msgspec.structs.replace(DEMO, info=msgspec.structs.replace(DEMO.info, kernels=kernels))
    async with client_for(ScriptedService(models=[status, IDLE])) as client:
        body = (await client.get("/props", params={"model": "demo"})).json()
        idle = (await client.get("/props", params={"model": IDLE.name})).json()
    assert body["kernels"] == {
        "by": "corral",
        "instruction_set": "avx2",
        "types": ["Q4_K"],
        "n_matrices": 7,
        "has_attention": False,
        "reason": None,
    }
    assert idle["kernels"] is None


async def test_the_share_of_gpus_is_told_once_the_model_is_loaded() -> None:
    assert DEMO.info is not None
    info = msgspec.structs.replace(DEMO.info, n_gpu_layers=9, n_cpu_expert_layers=5, cpu_expert_bytes=1 << 30)
    status = msgspec.structs.replace(DEMO, info=info)
    async with client_for(ScriptedService(models=[status, IDLE])) as client:
        body = (await client.get("/props", params={"model": "demo"})).json()
        idle = (await client.get("/props", params={"model": IDLE.name})).json()
    assert body["placement"] == {"gpu_layers": 9, "cpu_moe_layers": 5, "cpu_moe_bytes": 1 << 30}
    assert idle["placement"] is None
