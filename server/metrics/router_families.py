"""`router_families`: the few figures that routers and autoscalers read, under vLLM's names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from server.metrics.adapter_load import AdapterLoad
from server.metrics.figures import ArmLabels, FigureBook, RequestFigures
from server.metrics.samples import WorkerSample

LABELS = ["model_name", "type"]
"""vLLM's label, and the quantization type of the file."""
MAX_ADAPTERS = 1
"""A step serves so many adapters to requests that name one each: different sets of adapters take turns."""


def _usage(sample: WorkerSample) -> float:
    """Return the part of the cache in use; 0 where the model isn't loaded: nothing is in the way there."""
    stats = sample.stats
    return (
        stats.kv_used_tokens / stats.kv_total_tokens if stats is not None and stats.kv_total_tokens else 0.0
    )


_GAUGES: tuple[tuple[str, str, Callable[[WorkerSample], float]], ...] = (
    ("vllm:num_requests_running", "Requests that are being answered.", attrgetter("running")),
    ("vllm:num_requests_waiting", "Requests that wait for their model or a slot.", attrgetter("waiting")),
    (
        "vllm:kv_cache_usage_perc",
        "Part of the KV cache that holds tokens, 0 to 1.",
        _usage,
    ),
    ("vllm:gpu_cache_usage_perc", "The same, by its older name.", _usage),
)
_COUNTERS: tuple[tuple[str, str, Callable[[RequestFigures], int]], ...] = (
    (
        "vllm:prefix_cache_queries",
        "Prompt tokens that were looked for in the prefix cache.",
        attrgetter("looked_up_tokens"),
    ),
    ("vllm:prefix_cache_hits", "Prompt tokens that were found there.", attrgetter("cached_tokens")),
    ("vllm:gpu_prefix_cache_queries", "The same, by its older name.", attrgetter("looked_up_tokens")),
    ("vllm:gpu_prefix_cache_hits", "The same, by its older name.", attrgetter("cached_tokens")),
)


def router_families(
    book: FigureBook, samples: Sequence[WorkerSample], clock_s: Callable[[], float] = time.time
) -> Iterator[Metric]:
    """Yield them; of a model that several arms have asked, the sums. `clock_s` is Unix time in seconds."""
    for name, text, value in _GAUGES:
        gauge = GaugeMetricFamily(name, text, labels=LABELS)
        for each in samples:
            gauge.add_metric(_labels(each), float(value(each)))
        yield gauge
    yield from _counters(book.requests)
    yield _cache(samples)
    if any(each.takes_adapters for each in samples):  # as with vLLM: only where there are any
        yield _adapters(book.adapters, clock_s())


def _counters(figures: Mapping[ArmLabels, RequestFigures]) -> Iterator[Metric]:
    for name, text, count in _COUNTERS:
        sums: dict[tuple[str, str], int] = {}
        for (model, type_, _), request in figures.items():
            sums[model, type_] = sums.get((model, type_), 0) + count(request)
        counter = CounterMetricFamily(name, text, labels=LABELS)
        for labels, n in sums.items():
            counter.add_metric(labels, n)
        yield counter


def _cache(samples: Sequence[WorkerSample]) -> Metric:
    """Return the size of each KV cache: its blocks are cells of one token."""
    family = GaugeMetricFamily(
        "vllm:cache_config_info",
        "1; the labels have the size of the KV cache.",
        labels=[*LABELS, "block_size", "num_gpu_blocks"],
    )
    for each in samples:
        if each.stats is not None:
            family.add_metric([*_labels(each), "1", str(each.stats.kv_total_tokens)], 1.0)
    return family


def _adapters(load: AdapterLoad, now_s: float) -> Metric:
    """Return the adapters of all models that requests have and wait for, in labels: the value is the time."""
    family = GaugeMetricFamily(
        "vllm:lora_requests_info",
        "The Unix time; the labels name the LoRA adapters of running and of waiting requests.",
        labels=["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
    )
    family.add_metric([str(MAX_ADAPTERS), ",".join(load.running), ",".join(load.waiting)], now_s)
    return family


def _labels(sample: WorkerSample) -> list[str]:
    return [sample.model, sample.type or ""]
