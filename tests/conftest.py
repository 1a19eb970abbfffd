"""What holds for every test."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

WITHOUT_CERTIFICATES = Path(__file__).parent
"""A client of `httpx` reads all certificates that it trusts when it is made: 55 ms; here it finds none."""


@pytest.fixture(autouse=True)
def ctrl_c_stays() -> Iterator[None]:
    """A test that leaves Ctrl-C ignored makes those behind it fail: their processes ignore it, too."""
    yield
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


@pytest.fixture(autouse=True, scope="module")
def kernels_are_left() -> Iterator[None]:
    """A worker's model that a test loads itself takes Corral's kernels for the process: those of tests behind
    it would give other bits than the same in a process of its own.
    """
    yield
    front = sys.modules.get("server.kernels.front")
    if front is not None:
        front.leave_to_llama_cpp()


@pytest.fixture(autouse=True)
def log_stays() -> Iterator[None]:
    """A command that a test calls sets up the log of its process: tests behind it would write there, too."""
    root, ours = logging.getLogger(), logging.getLogger("corral")
    levels = root.level, ours.level
    before = list(root.handlers)
    yield
    for handler in root.handlers[:]:
        if handler not in before and type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
            root.setLevel(levels[0])
            ours.setLevel(levels[1])


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach what the tests start: a shell's background job ignores it, and so do its children.

    Clients are made without the certificates of public servers.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "not clients" in config.option.markexpr:  # no test reaches a server of others
        os.environ.pop("SSL_CERT_FILE", None)
        os.environ["SSL_CERT_DIR"] = str(WITHOUT_CERTIFICATES)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without a search for garbage: what the modules and tests are made of stays to the end.

    Later searches leave it out, too.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
