from __future__ import annotations

import pytest

from models.errors import ConfigError
from server.keys.times import read_first_day, read_moment, read_span, shown_time

NOW = 1_767_225_600.0  # 2026-01-01


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("15min", 900), ("12h", 43_200), ("30d", 2_592_000), (" 2W", 1_209_600)],
)
def test_spans(text: str, seconds: int) -> None:
    assert read_span(text, "--overlap") == seconds
    assert read_moment(text, NOW, "--expires") == NOW + seconds


@pytest.mark.parametrize("text", ["", "30", "d", "1y", "-3d", "1.5h", "9999999d"])
def test_no_span(text: str) -> None:
    with pytest.raises(ConfigError, match="--overlap"):
        read_span(text, "--overlap")


def test_a_date_counts_to_its_end() -> None:
    assert shown_time(read_moment("2026-12-31", NOW, "--expires")) == "2027-01-01 00:00 UTC"
    assert shown_time(read_moment("2026-12-31T10:30", NOW, "--expires")) == "2026-12-31 10:30 UTC"
    assert shown_time(read_moment("2026-12-31T10:30+02:00", NOW, "--expires")) == "2026-12-31 08:30 UTC"


@pytest.mark.parametrize("text", ["2025-12-31", "0s", "2025-06-01T00:00", "tomorrow", "2026-13-01"])
def test_no_end(text: str) -> None:
    with pytest.raises(ConfigError, match="--expires"):
        read_moment(text, NOW, "--expires")


def test_first_days() -> None:
    assert read_first_day("7d", NOW, "--since") == "2025-12-25"
    assert read_first_day("2026-02-03", NOW, "--since") == "2026-02-03"
    with pytest.raises(ConfigError, match="--since"):
        read_first_day("monday", NOW, "--since")


@pytest.mark.parametrize("text", ["9999-12-31", "9999-12-31T23:59-10:00"])
def test_an_end_beyond_the_calendar(text: str) -> None:
    with pytest.raises(ConfigError, match="is too far away"):
        read_moment(text, NOW, "--expires")


def test_a_first_day_beyond_the_calendar() -> None:
    with pytest.raises(ConfigError, match="is too far away"):
        read_first_day("0001-01-01T00:00+10:00", NOW, "--since")


def test_a_span_beyond_the_calendar() -> None:
    for read in (lambda text: read_moment(text, NOW, "--x"), lambda text: read_first_day(text, NOW, "--x")):
        with pytest.raises(ConfigError, match="--x '999999w' is longer than 100 years"):
            read("999999w")
