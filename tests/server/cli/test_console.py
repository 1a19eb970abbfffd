from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from server.cli.console import duration, log_to_stderr, size

MIB = 2**20


@pytest.fixture
def loggers() -> Iterator[None]:
    """Put the root's handlers and both levels back after the test."""
    root, ours = logging.getLogger(), logging.getLogger("corral")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    for handler in handlers:
        root.removeHandler(handler)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.mark.usefixtures("loggers")
def test_the_log_has_our_lines_from_the_level_on_and_warnings_of_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_stderr("info")
    logging.getLogger("corral.serve").info("ready")
    logging.getLogger("corral.serve").debug("details")
    logging.getLogger("other").info("chatter")
    logging.getLogger("other").warning("trouble")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "INFO    corral.serve: ready",
        "WARNING other: trouble",
    ]


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 KiB"), (3 * 1024, "3 KiB"), (5 * MIB, "5.0 MiB"), (3 * 2**30, "3.00 GiB")]
)
def test_size(n_bytes: int, text: str) -> None:
    assert size(n_bytes) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.84, "0.8 s"), (42.4, "42 s"), (190.2, "3 min 10 s")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.usefixtures("loggers")
def test_the_log_can_be_json(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", "json")
    logging.getLogger("corral.access").info("GET /x 200", extra={"fields": {"status": 200}})
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["message"], line["status"]) == ("GET /x 200", 200)
