"""`without_labels`: llama-server's figures as it has them, one number each for the whole server. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

_PREFIX = "llamacpp:"
_LARGEST = frozenset({"llamacpp:n_tokens_max"})
"""The figures of which the largest counts; of all others it is the sum."""
_RATES: Final = {
    "llamacpp:prompt_tokens_seconds": ("llamacpp:prompt_tokens_total", "llamacpp:prompt_seconds_total"),
    "llamacpp:predicted_tokens_seconds": (
        "llamacpp:tokens_predicted_total",
        "llamacpp:tokens_predicted_seconds_total",
    ),
}
"""Rates, and the totals that they are made of."""


def without_labels(families: Iterable[Metric]) -> Iterator[Metric]:
    """Yield the families, those of llama-server's names with one sample each, 0 where nothing was yet."""
    totals: dict[str, float] = {}
    for family in families:
        if not family.name.startswith(_PREFIX):
            yield family
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        values = [sample.value for sample in family.samples if sample.name == name]
        value = max(values, default=0.0) if name in _LARGEST else sum(values)
        if name in _RATES:
            n_tokens, seconds = (totals[each] for each in _RATES[name])
            value = n_tokens / seconds if seconds > 0 else 0.0
        totals[name] = value
        merged = Metric(family.name, family.documentation, family.type)
        merged.add_sample(name, {}, value)
        yield merged
