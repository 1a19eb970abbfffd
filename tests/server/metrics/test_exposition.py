"""The text, read by Prometheus' own parsers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest
from prometheus_client import parser
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser

from server.engine.stats import STEP_BOUNDS_S, EngineStats
from server.ipc.messages import StatsReply
from server.metrics.exposition import expose
from server.metrics.figures import FigureBook, WorkerFigures
from server.metrics.samples import WorkerSample

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PLAIN, OPEN = "text/plain", "application/openmetrics-text; version=1.0.0"
DEMO = {"model": "demo", "type": "Q8_0", "arm": ""}
PARSERS: list[tuple[str, Callable[[str], Iterable[Metric]]]] = [
    (PLAIN, parser.text_string_to_metric_families),
    (OPEN, openmetrics_parser.text_string_to_metric_families),
    (PROMETHEUS_2, openmetrics_parser.text_string_to_metric_families),
    ("", parser.text_string_to_metric_families),
]


def stats(steps: EngineStats, **fields: int) -> StatsReply:
    return StatsReply(
        id="s",
        running=1,
        waiting=0,
        kv_used_tokens=fields.get("kv_used_tokens", 0),
        kv_total_tokens=1000,
        prompt_tokens_total=0,
        generated_tokens_total=0,
        prompt_s_total=steps.prompt_s_total,
        generated_s_total=steps.generated_s_total,
        steps_total=steps.steps_total,
        cached_tokens_total=0,
        rss_bytes=5,
        preemptions_total=steps.preemptions_total,
        entries_total=steps.entries_total,
        drafts_total=steps.drafts_total,
        checkpoint_bytes=steps.checkpoint_bytes,
        checkpoints_total=steps.checkpoints_total,
        rewinds_total=steps.rewinds_total,
        step_counts=steps.step_counts,
    )


def values(families: Iterable[Metric], **labels: str) -> dict[str, float]:
    """The values of all samples that have these labels and no others, by name."""
    return {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if sample.labels == labels
    }


@pytest.mark.parametrize(("accept", "parse"), PARSERS)
def test_requests(accept: str, parse: Callable[[str], Iterable[Metric]]) -> None:
    book = FigureBook()
    figures = book.of_requests("demo", "Q8_0")
    figures.prompt_tokens, figures.computed_tokens, figures.prompt_s = 10, 8, 2.0
    figures.first_token_s.add(0.5)
    figures.finished["stop"] = 3
    body, content_type = expose(book, [], accept)
    assert content_type.startswith(accept.partition(";")[0] or PLAIN)
    families = list(parse(body.decode()))
    found = values(families, **DEMO)
    assert found["llamacpp:prompt_tokens_total"] == 8
    assert found["corral:prompt_tokens_total"] == 10
    assert found["llamacpp:prompt_tokens_seconds"] == 4
    assert found["corral:time_to_first_token_seconds_count"] == 1
    assert found["corral:time_to_first_token_seconds_sum"] == 0.5
    buckets = values(families, **DEMO, le="0.47"), values(families, **DEMO, le="0.56")
    name = "corral:time_to_first_token_seconds_bucket"
    assert [each[name] for each in buckets] == [0, 1]
    assert values(families, **DEMO, finished_reason="stop") == {"corral:request_success_total": 3}


def test_workers_and_those_before_them() -> None:
    first = EngineStats(preemptions_total=1, rewinds_total=2, checkpoint_bytes=99)
    second = EngineStats(drafts_total=4, rewinds_total=3, checkpoints_total=7, checkpoint_bytes=50)
    first.add_step(1, 2, 1, 0.004, n_entries=3)
    second.add_step(0, 2, 2, 99999.0, n_entries=2)
    second.add_step(0, 1, 1, 0.004, n_entries=1)
    figures = WorkerFigures(loads=2, deaths=1)
    figures.past.add(stats(first))
    figures.past.add(None)
    sample = WorkerSample(
        model="demo",
        type=None,
        state="ready",
        waiting=2,
        figures=figures,
        stats=stats(second, kv_used_tokens=250),
        answered=True,
    )
    text = expose(FigureBook(), [sample], PLAIN)[0].decode()
    families = list(parser.text_string_to_metric_families(text))
    found = values(families, model="demo", type="")
    assert found["llamacpp:n_decode_total"] == found["corral:step_seconds_count"] == 3
    assert found["corral:step_seconds_sum"] == pytest.approx(99999.008)
    assert found["llamacpp:n_busy_slots_per_decode"] == 2
    assert found["corral:num_preemptions_total"] == 1
    assert (found["corral:checkpoints_total"], found["corral:rewinds_total"]) == (7, 5)
    assert found["corral:checkpoint_bytes"] == 50
    assert found["llamacpp:spec_decode_num_drafts_total"] == 4
    assert found["corral:kv_cache_usage_perc"] == 0.25
    assert (found["llamacpp:requests_processing"], found["llamacpp:requests_deferred"]) == (0, 2)
    assert (found["corral:worker_loads_total"], found["corral:worker_deaths_total"]) == (2, 1)
    last = values(families, model="demo", type="", le=str(STEP_BOUNDS_S[-1]))
    assert last["corral:step_seconds_bucket"] == 2
    states = {state: values(families, model="demo", type="", state=state) for state in ("ready", "failed")}
    assert states == {"ready": {"corral:model_state": 1}, "failed": {"corral:model_state": 0}}


def test_a_model_without_a_worker_has_no_cache() -> None:
    sample = WorkerSample(model="demo", type="Q8_0", state="available")
    text = expose(FigureBook(), [sample], PLAIN)[0].decode()
    found = values(parser.text_string_to_metric_families(text), model="demo", type="Q8_0")
    assert "corral:kv_cache_usage_perc" not in found
    assert found["corral:worker_answered"] == 0
    assert found["corral:step_seconds_count"] == 0


def test_names_that_come_from_files_are_quoted() -> None:
    book = FigureBook()
    book.of_requests('a"\\\nb', "Q8_0").finished["stop"] = 1
    text = expose(book, [], PLAIN)[0].decode()
    labels = {"model": 'a"\\\nb', "type": "Q8_0", "arm": "", "finished_reason": "stop"}
    assert values(parser.text_string_to_metric_families(text), **labels)


def test_the_adapters_that_requests_have_and_wait_for() -> None:
    """As vLLM tells them: names with commas between in two labels, and the time for the value."""
    book = FigureBook()
    name = "vllm:lora_requests_info"
    plain = WorkerSample(model="plain", type="Q8_0", state="ready")
    assert name not in expose(book, [plain], PLAIN)[0].decode()
    samples = [plain, WorkerSample(model="demo", type="Q8_0", state="ready", takes_adapters=True)]
    book.adapters.wait(["demo:b", "demo:a", "demo:c"])
    book.adapters.run(["demo:b", "demo:a"])
    begun_s = time.time()
    families = list(parser.text_string_to_metric_families(expose(book, samples, PLAIN)[0].decode()))
    labels = {"max_lora": "1", "running_lora_adapters": "demo:a,demo:b", "waiting_lora_adapters": "demo:c"}
    assert begun_s <= values(families, **labels)[name] <= time.time()
