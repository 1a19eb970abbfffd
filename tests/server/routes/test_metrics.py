from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from server.metrics.samples import WorkerSample
from tests.server.http_client import client_for, error_of
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


async def test_llama_servers_figures_are_numbers_of_the_whole_server() -> None:
    service = ScriptedService()
    for arm, n_tokens, seconds, longest in (("a", 6, 1.0, 9), ("b", 2, 3.0, 5)):
        figures = service.figures.of_requests("demo", "Q4_K_M", arm)
        figures.other_tokens, figures.generated_s, figures.longest = n_tokens, seconds, longest
    service.samples_now = [WorkerSample(model="demo", type="Q4_K_M", state="ready", running=1)]
    async with client_for(service, dialect="llama-server") as client:
        answer = await client.get("/metrics")
    assert int(answer.headers["process-start-time-unix"]) > 0
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    samples = [each for family in families.values() for each in family.samples]
    native = {each.name: each.value for each in samples if each.name.startswith("llamacpp:")}
    assert not any(each.labels for each in samples if each.name in native)
    assert native["llamacpp:tokens_predicted_total"] == 8
    assert native["llamacpp:predicted_tokens_seconds"] == 2.0
    assert native["llamacpp:prompt_tokens_seconds"] == 0.0
    assert native["llamacpp:n_tokens_max"] == 9
    assert native["llamacpp:requests_processing"] == 1
    assert native["llamacpp:n_decode_total"] == 0  # nothing has been decoded yet
    assert families["llamacpp:tokens_predicted"].type == "counter"
    assert families["corral:generation_tokens"].samples[0].labels["model"] == "demo"


async def test_what_is_not_to_be_seen_is_not_there() -> None:
    async with client_for(metrics=False, slots=False) as client:
        for path, code in (("/metrics", "metrics_are_off"), ("/slots", "slots_are_off")):
            answer = await client.get(path)
            assert (answer.status_code, error_of(answer)["code"]) == (501, code)


async def test_it_needs_a_key_where_keys_are_set() -> None:
    async with client_for(api_keys=("secret",)) as client:
        assert (await client.get("/metrics")).status_code == 401
        allowed = await client.get("/metrics", headers={"Authorization": "Bearer secret"})
    assert allowed.status_code == 200
