"""One browser and one server for all tests of the page, in a network that has nothing but loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.chromium import WAIT_S, Browser, Tab, chromium
from tests.browser.loopback import Loopback
from tests.browser.scripted_server import GUEST_FILE

ROOT = Path(__file__).parents[2]
URL = "http://127.0.0.1:9400"
KEYED_URL = "http://127.0.0.1:9401"
KEY = "a-key"
AXE = "4.14.1"
"""The version of axe-core that judges the page."""
CACHE = Path.home() / ".cache" / "corral" / "axe-core"


@pytest.fixture(scope="session")
def loopback() -> Iterator[Loopback]:
    with Loopback() as made:
        yield made


@contextmanager
def serving(loopback: Loopback, folder: Path, port: str, *keys: str) -> Iterator[None]:
    """Run the application over the scripted model."""
    process = subprocess.Popen(
        [*loopback.prefix, sys.executable, "-m", "tests.browser.scripted_server", port, str(folder), *keys],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield
    process.communicate(b"", timeout=20)


@pytest.fixture(scope="session")
def browser(loopback: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip("needs Chromium: apt-get install chromium, or CORRAL_CHROMIUM=/path/to/it")
    made = Browser(executable, tmp_path_factory.mktemp("browser") / "profile", loopback.prefix)
    yield made
    made.close()


@pytest.fixture(scope="session")
def server(loopback: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(loopback, tmp_path_factory.mktemp("chats"), URL.rpartition(":")[2]):
        yield URL


@pytest.fixture(scope="session")
def keyed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keyed")


@pytest.fixture(scope="session")
def keyed_server(loopback: Loopback, keyed_folder: Path) -> Iterator[str]:
    """A server that asks for a key."""
    with serving(loopback, keyed_folder, KEYED_URL.rpartition(":")[2], KEY):
        yield KEYED_URL


@pytest.fixture
def guest_key(keyed_server: str, keyed_folder: Path) -> str:
    """A key of that server which may ask models, and no more."""
    return (keyed_folder / GUEST_FILE).read_text()


@pytest.fixture
def tab(browser: Browser, server: str, loopback: Loopback) -> Iterator[Tab]:
    """A page on the server. At its end nothing foreign was asked for, and nothing went wrong in it."""
    made = browser.tab()
    made.open(f"{server}/")
    made.wait("document.activeElement?.id === 'message'")
    yield made
    check(made)
    made.close()


def check(tab: Tab) -> None:
    """Fail if a page has asked for anything foreign, or if anything went wrong in it."""
    foreign = [
        url for url in tab.requests if not url.startswith((URL, KEYED_URL, "data:", "blob:", "about:"))
    ]
    assert foreign == []
    assert tab.problems == []


def say(tab: Tab, text: str) -> None:
    """Write a message, send it, and wait until the server has taken it."""
    questions = "document.querySelectorAll('.question').length"
    before = tab.run(questions)
    tab.focus("#message")
    tab.type(text)
    tab.press("Enter")
    tab.wait(f"{questions} > {before}")


TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]


def offer_tools(tab: Tab) -> None:
    """Let new chats offer a tool, as a user does who keeps the settings for new chats."""
    kept = json.dumps(json.dumps({"parameters": {"tools": TOOLS}}))
    tab.run(f"localStorage.setItem('corral.settings', {kept})")
    tab.reload()
    tab.wait("!!document.querySelector('#message')")


def ended(tab: Tab, wait_s: float = WAIT_S) -> None:
    """Wait for the end of the answer."""
    running = "[aria-label='Stop the answer'], [aria-busy=true]"
    tab.wait(f'!document.querySelector("{running}")', wait_s)


def signed_in(browser: Browser, url: str, key: str = KEY) -> Tab:
    """A page whose user has given the key."""
    tab = browser.tab()
    tab.open(f"{url}/docs")
    tab.run(f"sessionStorage.setItem('corral.key', {json.dumps(key)})")
    tab.open(f"{url}/#/models")
    tab.wait(tab.has("Models"))
    return tab


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, from npm, kept in a cache."""
    script = CACHE / AXE / "package" / "axe.min.js"
    if not script.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("needs axe-core: npm isn't here")
        folder = CACHE / AXE
        folder.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            [npm, "pack", "--silent", f"axe-core@{AXE}"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if packed.returncode:
            pytest.skip(f"needs axe-core, which npm can't get: {packed.stderr[-200:]}")
        with tarfile.open(folder / packed.stdout.strip()) as archive:
            archive.extractall(folder, filter="data")
    return script.read_text()
