from __future__ import annotations

import pytest

from models.errors import ConfigError
from models.parse_size import parse_size


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("4096", 4096),
        ("2GiB", 2**31),
        ("500MB", 500_000_000),
        ("1.5 GiB", 3 * 2**29),
        ("2g", 2**31),
        (" 64 kib ", 65536),
    ],
)
def test_sizes(text: str, n_bytes: int) -> None:
    assert parse_size(text) == n_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-1", "2 apples", "1e9", "1..5G", "٣"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size"):
        parse_size(text)
