"""`request_families` and `worker_families`: the figures as Prometheus' families, each named once.

`llamacpp:` are llama-server's names, with labels; `corral:` are those that vLLM has as `vllm:`, and our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from server.engine.stats import STEP_BOUNDS_S
from server.ipc.messages import StatsReply
from server.metrics.figures import ArmLabels, RequestFigures, WorkerTotals
from server.metrics.histogram import Histogram
from server.metrics.samples import WorkerSample

ARM_LABELS = ["model", "type", "arm"]
WORKER_LABELS = ["model", "type"]
STATES = ("available", "loading", "ready", "restarting", "failed", "unloading")

_COUNTERS: tuple[tuple[str, str, Callable[[RequestFigures], float]], ...] = (
    (
        "llamacpp:prompt_tokens",
        "Prompt tokens that were computed; those found in the cache are not among them.",
        attrgetter("computed_tokens"),
    ),
    (
        "llamacpp:prompt_tokens_cached",
        "Prompt tokens that were found in the cache.",
        attrgetter("cached_tokens"),
    ),
    (
        "llamacpp:prompt_seconds",
        "Seconds of computing prompts, summed over requests.",
        attrgetter("prompt_s"),
    ),
    ("llamacpp:tokens_predicted", "Generated tokens.", attrgetter("generated_tokens")),
    (
        "llamacpp:tokens_predicted_seconds",
        "Seconds of generating, summed over requests.",
        attrgetter("generated_s"),
    ),
    (
        "llamacpp:spec_decode_num_draft_tokens",
        "Guessed tokens that were checked.",
        attrgetter("draft_tokens"),
    ),
    (
        "llamacpp:spec_decode_num_accepted_tokens",
        "Guessed tokens that the model chose too.",
        attrgetter("accepted_tokens"),
    ),
    (
        "corral:prompt_tokens",
        "Prompt tokens, those found in the cache included: the sum of the clients' usage.",
        attrgetter("prompt_tokens"),
    ),
    ("corral:generation_tokens", "Generated tokens.", attrgetter("generated_tokens")),
    (
        "corral:prefix_cache_queries",
        "Prompt tokens that were looked for in the prefix cache.",
        attrgetter("looked_up_tokens"),
    ),
    ("corral:prefix_cache_hits", "Prompt tokens that were found there.", attrgetter("cached_tokens")),
    (
        "corral:answers_resumed",
        "Times that an answer went on in another process, as the model's had died.",
        attrgetter("resumed"),
    ),
)

_HISTOGRAMS: tuple[tuple[str, str, Callable[[RequestFigures], Histogram]], ...] = (
    (
        "corral:time_to_first_token_seconds",
        "Seconds from a request's arrival to its first token.",
        attrgetter("first_token_s"),
    ),
    (
        "corral:inter_token_latency_seconds",
        "Seconds between two tokens of an answer.",
        attrgetter("between_tokens_s"),
    ),
    (
        "corral:request_queue_time_seconds",
        "Seconds in which a request waited: for its model to be loaded, and for a slot.",
        attrgetter("queue_s"),
    ),
    ("corral:request_prefill_time_seconds", "Seconds from slot to first token.", attrgetter("prefill_s")),
    ("corral:request_decode_time_seconds", "Seconds from first to last token.", attrgetter("decode_s")),
    (
        "corral:e2e_request_latency_seconds",
        "Seconds from a request's arrival to the end of its answer.",
        attrgetter("whole_s"),
    ),
    ("corral:request_prompt_tokens", "Prompt tokens of a request.", attrgetter("prompt_size")),
    ("corral:request_generation_tokens", "Generated tokens of a request.", attrgetter("answer_size")),
)


def request_families(figures: Mapping[ArmLabels, RequestFigures]) -> Iterator[Metric]:
    """Yield the families of what requests were."""
    for name, text, value in _COUNTERS:
        counter = CounterMetricFamily(name, text, labels=ARM_LABELS)
        for labels, each in figures.items():
            counter.add_metric(labels, value(each))
        yield counter
    for name, text, histogram_of in _HISTOGRAMS:
        family = HistogramMetricFamily(name, text, labels=ARM_LABELS)
        for labels, each in figures.items():
            histogram = histogram_of(each)
            family.add_metric(labels, _buckets(histogram.bounds, histogram.counts), sum_value=histogram.total)
        yield family
    yield from _ends(figures)
    yield from _averages(figures)


def _ends(figures: Mapping[ArmLabels, RequestFigures]) -> Iterator[Metric]:
    success = CounterMetricFamily(
        "corral:request_success",
        "Answers that were completed, by the reason for their end.",
        labels=[*ARM_LABELS, "finished_reason"],
    )
    failure = CounterMetricFamily(
        "corral:request_failure",
        "Requests that failed or were cancelled, by the kind of failure.",
        labels=[*ARM_LABELS, "kind"],
    )
    for labels, each in figures.items():
        for reason in ("stop", "length", "tool_calls"):
            success.add_metric([*labels, reason], each.finished[reason])
        for kind in ("invalid_request", "busy", "server_error", "unavailable", "cancelled"):
            failure.add_metric([*labels, kind], each.failed[kind])
    yield success
    yield failure


def _averages(figures: Mapping[ArmLabels, RequestFigures]) -> Iterator[Metric]:
    prompt = GaugeMetricFamily(
        "llamacpp:prompt_tokens_seconds",
        "Prompt tokens per second of computing prompts, over all requests.",
        labels=ARM_LABELS,
    )
    predicted = GaugeMetricFamily(
        "llamacpp:predicted_tokens_seconds",
        "Generated tokens per second of generating, over all requests.",
        labels=ARM_LABELS,
    )
    longest = GaugeMetricFamily(
        "llamacpp:n_tokens_max", "Most tokens, prompt and answer, of a request.", labels=ARM_LABELS
    )
    for labels, each in figures.items():
        prompt.add_metric(labels, _ratio(each.computed_tokens, each.prompt_s))
        predicted.add_metric(labels, _ratio(each.generated_tokens, each.generated_s))
        longest.add_metric(labels, each.longest)
    yield prompt
    yield predicted
    yield longest


# --- workers ------------------------------------------------------------------------------------------------

_WORKER_GAUGES: tuple[tuple[str, str, Callable[[WorkerSample], float | None]], ...] = (
    ("llamacpp:requests_processing", "Requests that are being answered.", attrgetter("running")),
    ("llamacpp:requests_deferred", "Requests that wait for their model or a slot.", attrgetter("waiting")),
    ("corral:num_requests_running", "Requests that are being answered.", attrgetter("running")),
    ("corral:num_requests_waiting", "Requests that wait for their model or a slot.", attrgetter("waiting")),
    (
        "corral:kv_cache_usage_perc",
        "Part of the KV cache that holds tokens, 0 to 1; what ended requests left for others is among it.",
        lambda each: _of(each, lambda stats: _ratio(stats.kv_used_tokens, stats.kv_total_tokens)),
    ),
    (
        "corral:kv_cache_used_tokens",
        "Tokens in the KV cache.",
        lambda each: _of(each, attrgetter("kv_used_tokens")),
    ),
    (
        "corral:kv_cache_size_tokens",
        "Tokens for which the KV cache has room.",
        lambda each: _of(each, attrgetter("kv_total_tokens")),
    ),
    (
        "corral:checkpoint_bytes",
        "Memory of the states to which slots go back, of models with recurrent layers or a window.",
        lambda each: _of(each, attrgetter("checkpoint_bytes")),
    ),
    (
        "corral:worker_resident_bytes",
        "Memory of the model's process, the mapped file included.",
        lambda each: _of(each, attrgetter("rss_bytes")),
    ),
    (
        "corral:worker_answered",
        "1 if the model's process answered this scrape in time; else its figures are earlier ones.",
        attrgetter("answered"),
    ),
)

_LIVES: tuple[tuple[str, str, Callable[[WorkerSample], float]], ...] = (
    ("corral:worker_loads", "Times that the model was loaded.", attrgetter("figures.loads")),
    ("corral:worker_unloads", "Times that it was unloaded.", attrgetter("figures.unloads")),
    ("corral:worker_deaths", "Times that its process died, while loading too.", attrgetter("figures.deaths")),
)

_TOTALS: tuple[tuple[str, str, Callable[[WorkerTotals], float]], ...] = (
    ("llamacpp:n_decode", "Steps of the engine, each one batch.", attrgetter("steps")),
    ("corral:num_preemptions", "Times that a request gave up its slot to others.", attrgetter("preemptions")),
    ("corral:checkpoints", "States that were copied for slots to go back to.", attrgetter("checkpoints")),
    ("corral:rewinds", "Times that a slot went back to such a state.", attrgetter("rewinds")),
    ("llamacpp:spec_decode_num_drafts", "Drafts that were checked.", attrgetter("drafts")),
)


def worker_families(samples: Sequence[WorkerSample]) -> Iterator[Metric]:
    """Yield the families of what workers are and have counted."""
    for name, text, value in _WORKER_GAUGES:
        gauge = GaugeMetricFamily(name, text, labels=WORKER_LABELS)
        for each in samples:
            if (found := value(each)) is not None:
                gauge.add_metric(_labels(each), float(found))
        yield gauge
    for name, text, count in _LIVES:
        counter = CounterMetricFamily(name, text, labels=WORKER_LABELS)
        for each in samples:
            counter.add_metric(_labels(each), count(each))
        yield counter
    yield _states(samples)
    yield from _totals(samples)


def _states(samples: Sequence[WorkerSample]) -> Metric:
    family = GaugeMetricFamily(
        "corral:model_state", "1 for the state that the model is in.", labels=[*WORKER_LABELS, "state"]
    )
    for each in samples:
        for state in STATES:
            family.add_metric([*_labels(each), state], float(state == each.state))
    return family


def _totals(samples: Sequence[WorkerSample]) -> Iterator[Metric]:
    totals = [(_labels(each), each.figures.past.with_reply(each.stats)) for each in samples]
    for name, text, value in _TOTALS:
        counter = CounterMetricFamily(name, text, labels=WORKER_LABELS)
        for labels, each in totals:
            counter.add_metric(labels, value(each))
        yield counter
    busy = GaugeMetricFamily(
        "llamacpp:n_busy_slots_per_decode", "Sequences of a step, on average.", labels=WORKER_LABELS
    )
    steps = HistogramMetricFamily("corral:step_seconds", "Seconds of a step.", labels=WORKER_LABELS)
    for labels, each in totals:
        busy.add_metric(labels, _ratio(each.entries, each.steps))
        counts = each.step_counts or [0] * (len(STEP_BOUNDS_S) + 1)
        steps.add_metric(labels, _buckets(STEP_BOUNDS_S, counts), sum_value=each.step_s)
    yield busy
    yield steps


def _of(sample: WorkerSample, figure: Callable[[StatsReply], float]) -> float | None:
    """Return a figure of the worker's counters, None where there is no worker."""
    return None if sample.stats is None else figure(sample.stats)


def _labels(sample: WorkerSample) -> list[str]:
    return [sample.model, sample.type or ""]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return Prometheus' buckets: each has all values up to its bound."""
    buckets, n = [], 0
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        n += count
        buckets.append((bound, float(n)))
    return buckets
