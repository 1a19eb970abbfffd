from __future__ import annotations

import pytest

from models.errors import ConfigError
from server.cli.bench.options import LoadOptions, numbers
from server.loadtest.session import Level


def test_levels_are_those_of_the_rates_or_of_the_streams() -> None:
    assert LoadOptions(concurrency="1,8").levels() == [Level(8, concurrency=1), Level(32, concurrency=8)]
    assert LoadOptions(rate="2.5", requests=9).levels() == [Level(9, rate=2.5)]


def test_prompts_that_share_everything_are_refused() -> None:
    assert LoadOptions(shared_prefix=63).plan("m").shared_prefix == 63
    with pytest.raises(ConfigError, match="--shared-prefix 64 leaves nothing of 64"):
        LoadOptions(shared_prefix=64).plan("m")


@pytest.mark.parametrize("text", ["", "x", "1,,2", "0", "-1", "nan", "inf", "1e9", "1.5"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="--concurrency"):
        numbers("--concurrency", text)


def test_numbers() -> None:
    assert numbers("--concurrency", "1, 4,16") == [1, 4, 16]
    assert numbers("--rate", "0.5") == [0.5]
