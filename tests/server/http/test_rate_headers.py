from __future__ import annotations

import pytest

from server.http.rate_headers import shown_duration


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0s"),
        (0.0004, "0s"),
        (0.12, "120ms"),
        (1.0, "1s"),
        (7.66, "7.66s"),
        (60.0, "1m0s"),
        (150.5, "2m30.5s"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert shown_duration(seconds) == shown
