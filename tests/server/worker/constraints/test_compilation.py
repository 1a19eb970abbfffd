"""Work in a thread that gives way."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from models.errors import RequestError
from models.machine.allowance import BURST_S, Allowance
from server.worker.constraints.compilation import compiled_apart


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id() if sys.platform == "linux" else 0)


def test_short_work_is_as_quick_as_any() -> None:
    before = niceness()
    result, seconds = compiled_apart(niceness, Allowance(lambda: 0.0))
    assert result == before
    assert 0 <= seconds < BURST_S


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_long_work_gives_way() -> None:
    before, allowance = niceness(), Allowance(lambda: 0.0)

    def work() -> int:
        time.sleep(BURST_S)
        deadline = time.monotonic() + 30
        while niceness() < 10 and time.monotonic() < deadline:
            time.sleep(0.005)
        return niceness()

    assert compiled_apart(work, allowance)[0] == max(before, 10)
    assert allowance.offer() == pytest.approx(BURST_S / 4), "it took all that was offered"
    assert niceness() == before


def test_an_error_arrives() -> None:
    def work() -> int:
        raise RequestError("'form' can't be held", "form")

    with pytest.raises(RequestError, match="'form' can't be held"):
        compiled_apart(work, Allowance())
