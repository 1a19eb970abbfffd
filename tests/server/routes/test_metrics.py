from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from server.metrics.samples import WorkerSample
from tests.server.http_client import client_for
from tests.server.scripted_service import ScriptedService


async def test_prometheus_can_read_it() -> None:
    service = ScriptedService()
    service.figures.of_requests("demo", "Q4_K_M", "b").finished["stop"] = 2
    service.samples_now = [WorkerSample(model="demo", type="Q4_K_M", state="ready", running=1)]
    async with client_for(service) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    (success,) = [s for s in samples if s.name == "corral:request_success_total" and s.value]
    assert success.labels == {"model": "demo", "type": "Q4_K_M", "arm": "b", "finished_reason": "stop"}
    assert [s.value for s in samples if s.name == "llamacpp:requests_processing"] == [1]
    assert any(s.name == "process_resident_memory_bytes" for s in samples)


async def test_it_needs_a_key_where_keys_are_set() -> None:
    async with client_for(api_keys=("secret",)) as client:
        assert (await client.get("/metrics")).status_code == 401
        allowed = await client.get("/metrics", headers={"Authorization": "Bearer secret"})
    assert allowed.status_code == 200
