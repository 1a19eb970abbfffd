"""What holds for every test."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def ctrl_c_stays() -> Iterator[None]:
    """A test that leaves Ctrl-C ignored makes those behind it fail: their processes ignore it, too."""
    yield
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach what the tests start: a shell's background job ignores it, and so do its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
