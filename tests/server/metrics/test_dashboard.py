"""The Grafana dashboard asks for what there is: each query is PromQL, of names and labels in `/metrics`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.engine.stats import EngineStats
from server.metrics.exposition import expose
from server.metrics.figures import FigureBook
from server.metrics.samples import WorkerSample
from tests.server.metrics.test_exposition import stats

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana" / "corral.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
VARIABLES = {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def exposed() -> dict[str, set[str]]:
    """The labels of each metric that a server with one request and one worker has."""
    book = FigureBook()
    book.of_requests("demo", "Q8_0")
    sample = WorkerSample(model="demo", type="Q8_0", state="ready", stats=stats(EngineStats()))
    text = expose(book, [sample], "")[0].decode()
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            labels.setdefault(each.name, set()).update(each.labels)
    return labels


METRICS = exposed()


def selectors(query: Any) -> list[Any]:
    """All vector selectors of a parsed query."""
    if isinstance(query, promql_parser.VectorSelector):
        return [query]
    if isinstance(query, promql_parser.MatrixSelector):
        return [query.vector_selector]
    parts = [getattr(query, name, None) for name in ("expr", "lhs", "rhs", "param")]
    parts += list(getattr(query, "args", None) or ())
    return [found for part in parts if part is not None for found in selectors(part)]


@pytest.mark.parametrize("expression", QUERIES.values(), ids=QUERIES)
def test_each_query_is_promql_of_metrics_that_there_are(expression: str) -> None:
    assert set(re.findall(r"\$(\w+)", expression)) <= VARIABLES | {"__rate_interval"}
    filled = expression.replace("$__rate_interval", "1m")
    found = selectors(promql_parser.parse(filled))
    assert found
    for selector in found:
        assert selector.name in METRICS, selector.name
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= METRICS[selector.name], selector.name
    grouped = {
        label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")
    }
    assert grouped <= {label for selector in found for label in METRICS[selector.name]}


def test_a_counter_is_never_shown_as_it_is() -> None:
    for title, expression in QUERIES.items():
        for name in re.findall(r"[\w:]+_(?:total|bucket)\b", expression):
            before = expression[: expression.index(name)]
            assert re.search(r"(rate|increase)\($", before), f"{title}: {name}"


def test_the_variables_are_labels_that_there_are() -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\S+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
            assert label in METRICS[metric]


def test_panels_have_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
