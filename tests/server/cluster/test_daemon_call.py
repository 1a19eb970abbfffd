from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from server.cluster.daemon_call import daemon_call

ENDS = """
import asyncio, threading
from server.cluster.daemon_call import daemon_call
async def main():
    try:
        await asyncio.wait_for(daemon_call(threading.Event().wait), 0.1)
    except TimeoutError:
        print("given up")
asyncio.run(main())
"""


async def test_what_the_call_returns_or_raises() -> None:
    assert await daemon_call(lambda: threading.current_thread().daemon) is True
    with pytest.raises(ValueError, match="invalid literal"):
        await daemon_call(lambda: int("x"))


async def test_a_cancelled_call_goes_on_unheard() -> None:
    go, ended = threading.Event(), threading.Event()

    def call() -> None:
        go.wait(5)
        ended.set()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(daemon_call(call), 0.05)
    go.set()
    assert await asyncio.to_thread(ended.wait, 5)
    await asyncio.sleep(0)


def test_a_process_ends_while_a_call_blocks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "given up\n"
