"""`corral serve demo` with its page: the whole chain, over a reload and over the server's sudden death."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.browser.chromium import Browser, ProtocolError, Tab
from tests.browser.conftest import say
from tests.browser.loopback import Loopback
from tests.e2e.running import CORRAL, environment

pytestmark = pytest.mark.browser

URL = "http://127.0.0.1:9402"
READY_S = 120.0
ENDLESS = '{"system": "", "parameters": {"ignore_eos": true, "max_tokens": 1800, "seed": 1}}'
"""Settings of an answer that takes some seconds."""
SAVED_S = 2.5
"""After so many seconds a running answer is on the disk."""


@contextmanager
def serving(loopback: Loopback, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [CORRAL, "serve", "demo:Q4_K_M", "--port", URL.rpartition(":")[2]]
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(
            [*loopback.prefix, *command],
            env=environment(home),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(30)


def open_page(tab: Tab) -> None:
    """Go to the page once the server is ready."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            tab.open(f"{URL}/")
            if tab.run("fetch('/ready').then((r) => r.ok)"):
                break
        except (ProtocolError, AssertionError):
            pass  # nothing listens yet
        assert time.monotonic() < deadline
        time.sleep(0.3)
    tab.wait("!!document.querySelector('#message')")


@pytest.mark.timeout(300)
def test_the_page_of_a_real_server(browser: Browser, loopback: Loopback, tmp_path: Path) -> None:
    tab = browser.tab()
    text = "document.querySelector('.answer .markdown')?.innerText ?? ''"
    with serving(loopback, tmp_path) as process:
        open_page(tab)
        tab.run(f"localStorage.setItem('corral.settings', '{ENDLESS}')")
        open_page(tab)
        say(tab, "Tell me a story.")
        tab.wait(f"({text}).length > 40", 60)
        before = tab.run(text)
        tab.reload()
        tab.wait(f"({text}).startsWith({before[:30]!r})")
        tab.wait(f"({text}).length > {len(before) + 40}")
        tab.press("Escape")
        tab.wait(tab.has("Stopped."))
        tab.run("location.hash = '#/models'")
        tab.wait(tab.has("ready"))
        tab.run("location.hash = '#/'")
        tab.wait(tab.has("What is on your mind?"))
        say(tab, "And another one.")
        tab.wait(f"({text}).length > 10", 60)
        workers = psutil.Process(process.pid).children(recursive=True)
        for worker in workers:
            worker.suspend()  # in mid-sentence
        time.sleep(SAVED_S)
        process.kill()  # kill -9
        process.wait(30)
        for worker in workers:
            worker.kill()
        shown = tab.run(text)
        tab.wait(tab.has("The server can't be reached; trying again"))
    with serving(loopback, tmp_path):
        tab.wait(f"!{tab.has('trying again')} && !document.querySelector('[aria-busy=true]')", READY_S)
        kept = tab.wait(text)
        assert shown.startswith(kept[:20])
        assert tab.text(".answer .note") == "The server ended while this was written."
        tab.click("[aria-label='Answer again']")
        tab.wait(tab.has("2 / 2") + f" && ({text}).length > 10", 60)
        tab.press("Escape")
    assert [url for url in tab.requests if url.startswith("http") and not url.startswith(URL)] == []
    tab.close()
