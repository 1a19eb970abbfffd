from __future__ import annotations

import pytest

from server.cli.bench.report import bars, level_name, milliseconds, table_of
from server.loadtest.figures import figures_of
from server.loadtest.session import Level, Result


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.000421, "0.42 ms"), (0.01234, "12.3 ms"), (0.99, "990.0 ms"), (1.254, "1.25 s")],
)
def test_milliseconds(seconds: float | None, text: str) -> None:
    assert milliseconds(seconds) == text


def test_levels_without_a_good_answer_are_shown() -> None:
    result = Result(Level(1, rate=2.5), figures_of([]), None, interrupted=True)
    assert level_name(result.level) == "2.5 per second"
    assert table_of([result]).row_count == 1
    assert bars([result]).renderables
