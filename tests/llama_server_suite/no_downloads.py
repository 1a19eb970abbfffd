"""A pytest plugin for the suite: nothing is downloaded before its tests, and a server may start slowly."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest

START_S = 240
"""A server has so many seconds to start."""
POLL_S = 0.25
"""A server that starts is asked this often; the suite's hundred times a second would take a core from it."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the suite's session fixture from starting a server for each of its models, which are here."""
    suite = sys.modules["utils"]
    suite.ServerPreset.load_all = lambda: None
    suite.ServerProcess.start.__defaults__ = (START_S,)
    suite.time = SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(max(seconds, POLL_S)))  # type: ignore[attr-defined]
