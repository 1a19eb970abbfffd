"""Pictures of the page, for docs/web-page.md and for whoever changes its looks.

They are written where CORRAL_PICTURES says, and into the test's folder otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, Tab
from tests.browser.conftest import ended, offer_tools, say, signed_in

pytestmark = pytest.mark.browser

SMALLEST = 8_000
"""A picture of fewer bytes shows an empty page."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    given = os.environ.get("CORRAL_PICTURES")
    return Path(given).resolve() if given else tmp_path


def take(tab: Tab, path: Path) -> None:
    tab.run("document.fonts.ready.then(() => new Promise((r) => setTimeout(r, 250)))")
    tab.picture(path)
    assert path.stat().st_size > SMALLEST


def test_pictures(browser: Browser, tab: Tab, folder: Path, server: str, keyed_server: str) -> None:
    offer_tools(tab)
    for text in ("Which knots does a sailor need?", "A letter to the landlord", "Compare two birds"):
        say(tab, text)
        ended(tab)
        tab.run("location.hash = '#/'")
        tab.wait(tab.has("What is on your mind?"))
    take(tab, folder / "web-welcome.png")
    say(tab, "markdown please: what can an answer hold?")
    ended(tab)
    tab.wait("document.querySelectorAll('.katex').length === 3 && !!document.querySelector('.hl-keyword')")
    take(tab, folder / "web-light.png")
    tab.colours("dark")
    take(tab, folder / "web-dark.png")
    tab.resize(375, 740, phone=True)
    take(tab, folder / "web-phone.png")
    tab.click("[aria-label='Show the list of chats']")
    take(tab, folder / "web-phone-menu.png")
    tab.click("[aria-label='Close the list of chats']")
    tab.resize(1280, 800)
    tab.colours("light")
    tab.run("location.hash = '#/'")
    tab.wait(tab.has("What is on your mind?"))
    say(tab, "think about it")
    ended(tab)
    say(tab, "tools know the weather in Oslo?")
    ended(tab)
    take(tab, folder / "web-tools.png")
    tab.click("[aria-label='Settings of this chat']")
    take(tab, folder / "web-settings.png")
    tab.press("Escape")
    tab.run("location.hash = '#/'")
    tab.wait(tab.has("What is on your mind?"))
    say(tab, "slow")
    tab.wait(tab.has("word5 "))
    tab.run("location.hash = '#/activity'")
    tab.wait(tab.has("this page"))
    take(tab, folder / "web-activity.png")
    tab.click("[aria-label='Cancel the request of demo']")
    keyed = signed_in(browser, keyed_server)
    keyed.wait(keyed.has("What quantization lost"))
    take(keyed, folder / "web-models.png")
    keyed.close()
    tab.open(f"{server}/docs")
    tab.wait(tab.has("/v1/chat/completions"))
    tab.fill("input[type=search]", "chat completions post")
    tab.click(".operation summary")
    tab.wait(tab.has("temperature"))
    take(tab, folder / "web-docs.png")
