"""`expose`: all figures as the text that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.registry import Collector

from models.version import VERSION
from server.metrics.families import request_families, worker_families
from server.metrics.figures import FigureBook
from server.metrics.router_families import router_families
from server.metrics.samples import WorkerSample
from server.metrics.without_labels import without_labels

_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def expose(
    book: FigureBook, samples: Sequence[WorkerSample], accept: str, *, native: bool = False
) -> tuple[bytes, str]:
    """Return the text, and its content type: OpenMetrics' form where `accept` asks for that.

    `native`: llama-server's figures are as it has them, without labels.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(book, samples, native))
    ProcessCollector(registry=registry)
    if _takes_openmetrics(accept):
        return openmetrics.generate_latest(registry, ALLOWUTF8, "1.0.0"), _OPENMETRICS  # type: ignore[no-untyped-call]  # the library has no types
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


def _takes_openmetrics(accept: str) -> bool:
    """Return True if a client takes OpenMetrics' form, which Prometheus names first.

    prometheus_client's own choice makes underscores of the colons in that form, unless Prometheus is of
    version 3: a dashboard would look for names that aren't there.
    """
    for each in accept.split(","):
        kind, *parameters = (part.strip() for part in each.split(";"))
        versions = [part.removeprefix("version=") for part in parameters if part.startswith("version=")]
        if kind == "application/openmetrics-text" and versions in ([], ["1.0.0"]):
            return True
    return False


class _Figures(Collector):
    """The figures of one moment."""

    def __init__(self, book: FigureBook, samples: Sequence[WorkerSample], native: bool) -> None:
        self._book = book
        self._samples = samples
        self._native = native

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("corral:build", "This server.", value={"version": VERSION})
        families = chain(request_families(self._book.requests), worker_families(self._samples))
        yield from without_labels(families) if self._native else families
        yield from router_families(self._book, self._samples)
