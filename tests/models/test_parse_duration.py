from __future__ import annotations

import math
from typing import Any

import pytest

from models.errors import ConfigError
from models.parse_duration import parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("300ms", 0.3),
        ("2d", 172_800),
        (" 45s ", 45),
        ("300", 300),
        ("0", 0),
        (300, 300),
        (0.5, 0.5),
        (0, 0),
        (-1, math.inf),
        ("-1", math.inf),
        ("-1m", math.inf),
        ("-0", 0),
        ("+2s", 2),
        ("36500d", 3_153_600_000),
        ("36501d", math.inf),
        (1e300, math.inf),
        (10**400, math.inf),
        ("9" * 60, math.inf),
    ],
)
def test_times(value: Any, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "m", "5 m", "5x", "5m3", "--1", "1e3", None, True, [5], math.nan, "9" * 99]
)
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(ConfigError, match="is no time; write it as 5m"):
        parse_duration(value)
