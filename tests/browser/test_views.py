"""The other views, the key, phones, the keyboard, and what axe-core says of all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Browser, Tab
from tests.browser.conftest import KEY, check, ended, offer_tools, say, signed_in
from tests.browser.scripted_server import GO_FILE

pytestmark = pytest.mark.browser


def findings(tab: Tab, axe: str) -> list[str]:
    """The serious findings of axe-core, with where they are."""
    tab.run(axe + "; true")
    rules = {"resultTypes": ["violations"]}
    found: list[Any] = tab.run(f"axe.run(document, {json.dumps(rules)}).then((r) => r.violations)")
    return [
        f"{each['id']}: {each['help']}: {node['html'][:160]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(tab: Tab, axe: str, scheme: str, width: int) -> None:
    tab.resize(width, 800, phone=width < 500)
    tab.colours(scheme)
    offer_tools(tab)
    assert findings(tab, axe) == []
    for text in ("markdown", "rtl", "wide", "tall\n" * 30, "think", "tools"):
        say(tab, text)
        ended(tab)
    tab.wait("!!document.querySelector('.hl-keyword') && !!document.querySelector('.katex')")
    tab.wait("!!document.querySelector('.results')")
    tab.run("document.querySelectorAll('.fold').forEach((e) => { e.open = true })")
    assert tab.run("document.documentElement.scrollWidth") == width
    assert findings(tab, axe) == []
    tab.click("[aria-label='Edit this message']")
    assert findings(tab, axe) == []
    tab.click(".editing button", "Cancel")
    if width < 500:
        tab.click("[aria-label='Show the list of chats']")
        tab.wait("getComputedStyle(document.querySelector('.has-menu .sidebar')).transform === 'none'")
        assert findings(tab, axe) == []
        tab.click("[aria-label='Close the list of chats']")
    tab.click("[aria-label='Settings of this chat']")
    tab.wait(tab.has("Tools of this server"))
    assert findings(tab, axe) == []
    tab.press("Escape")
    for view, text in {"models": "vicuna", "activity": "Usage"}.items():
        tab.run(f"location.hash = '#/{view}'")
        tab.wait(tab.has(text))
        assert tab.run("document.documentElement.scrollWidth") == width
        assert findings(tab, axe) == []
    tab.run("history.go(-2)")
    tab.wait("!!document.querySelector('.results')")
    tab.click("[aria-label='More about this chat']")
    assert findings(tab, axe) == []
    tab.click(".menu-body button", "Delete")
    tab.wait("!!document.querySelector('.toast')")
    assert findings(tab, axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_documentation_is_drawn_offline(tab: Tab, axe: str, server: str, scheme: str) -> None:
    tab.colours(scheme)
    tab.open(f"{server}/docs")
    tab.wait(tab.has("/v1/chat/completions"))
    tab.fill("input[type=search]", "chat completions post")
    tab.click(".operation summary")
    tab.wait(tab.has("temperature"))
    assert findings(tab, axe) == []
    tab.click("form button", "Send")
    tab.wait(tab.has("You said: Say hello."))


def test_a_phone_shows_all_of_it(tab: Tab) -> None:
    tab.resize(375, 740, phone=True)
    say(tab, "markdown")
    tab.wait(tab.has("no formula"))
    ended(tab)
    assert tab.run("document.documentElement.scrollWidth") == 375
    assert tab.run("getComputedStyle(document.querySelector('.sidebar')).visibility") == "hidden"
    tab.click("[aria-label='Show the list of chats']")
    tab.wait("getComputedStyle(document.querySelector('.sidebar')).transform === 'none'")
    tab.click("[aria-label='Close the list of chats']")
    tab.wait("getComputedStyle(document.querySelector('.sidebar')).visibility === 'hidden'")
    for view in ("models", "activity"):
        tab.run(f"location.hash = '#/{view}'")
        tab.wait("!!document.querySelector('.page')")
        assert tab.run("document.documentElement.scrollWidth") == 375


def test_the_keyboard_reaches_everything_and_shows_where_it_is(tab: Tab) -> None:
    tab.run("document.body.tabIndex = -1; document.body.focus()")
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    tab.press("Enter")
    assert tab.run("document.activeElement.id") == "message"
    tab.run("document.activeElement.blur()")
    seen: list[list[str]] = []
    while not seen or seen[-1][0] != "message":  # the last one
        assert len(seen) < 200
        tab.press("Tab")
        seen.append(
            tab.run(
                "(() => { const e = document.activeElement; const s = getComputedStyle(e);"
                "return [e.id || e.getAttribute('aria-label') || e.innerText.trim().slice(0, 20),"
                "e === document.body || e.closest('.composer') ? 'elsewhere' : s.outlineStyle] })()"
            )
        )
    names = [name for name, _ in seen]
    assert "search" in names
    assert "Settings of this chat" in names
    assert [name for name, style in seen if style not in ("solid", "auto", "elsewhere")] == []


def test_the_focus_goes_along_with_what_the_keyboard_does(tab: Tab) -> None:
    say(tab, "hello")
    ended(tab)
    label = "(({id, ariaLabel}) => ariaLabel ?? id)(document.activeElement)"

    def press(name: str) -> None:
        tab.focus(f"[aria-label={name!r}]")
        tab.press("Enter")

    press("Edit this message")
    tab.wait("document.activeElement.matches('.editing textarea')")
    tab.press("Escape")
    tab.wait(f"{label} === 'Edit this message'")
    tab.press("Enter")
    tab.wait("document.activeElement.matches('.editing textarea')")
    tab.type(" again")
    tab.press("Enter")
    tab.wait(tab.has("You said: hello again") + f" && {label} === 'message'")
    ended(tab)
    press("Answer again")
    tab.wait(tab.has("2 / 2") + " && document.querySelectorAll('.branches').length === 2")
    ended(tab)
    tab.wait(f"{label} === 'message'")
    press("Version before")
    tab.wait(tab.has("1 / 2") + f" && {label} === 'Next version'")
    tab.press("Enter")
    tab.wait(f"{label} === 'Version before'")
    press("Settings of this chat")
    tab.wait("document.activeElement.closest('dialog')")
    tab.press("Escape")
    tab.wait(f"{label} === 'Settings of this chat'")
    tab.run("document.querySelector('.menu > summary').focus()")
    tab.press("Enter")
    tab.press("Tab")
    tab.press("Escape")
    tab.wait(f"{label} === 'More about this chat' && !document.querySelector('.menu').open")


def test_colours_are_chosen_and_remembered(tab: Tab) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = tab.run(ground)
    tab.colours("dark")
    dark = tab.run(ground)
    assert dark != light
    tab.click("[aria-label='Light']")
    assert tab.run(ground) == light
    tab.reload()
    assert tab.run(ground) == light
    tab.click("[aria-label='As the system']")
    assert tab.run(ground) == dark


def test_live_requests_are_seen_and_cancelled(tab: Tab) -> None:
    say(tab, "slow")
    tab.wait(tab.has("word5 "))
    tab.run("location.hash = '#/activity'")
    tab.wait(tab.has("this page"))
    tab.click("[aria-label='Cancel the request of demo']")
    tab.wait(tab.has("No request is being answered."))
    tab.run("history.back()")
    tab.wait(tab.has("cancelled at the server"))


def test_models_are_listed_with_their_state(tab: Tab) -> None:
    tab.run("location.hash = '#/models'")
    tab.wait(tab.has("lmsys/vicuna-7b-v1.5"))
    card = tab.text(".card")
    for word in ("demo", "ready", "Q4_K_M", "15 MB", "2,048 tokens"):
        assert word in card
    tab.wait(tab.has("Pull and quantize"))


def test_a_key_is_asked_for_and_never_in_an_address(browser: Browser, keyed_server: str) -> None:
    tab = browser.tab()
    tab.open(f"{keyed_server}/")
    tab.wait(tab.has("This server asks for a key"))
    tab.fill("dialog[open] input[type=password]", "wrong")
    tab.click("dialog[open] button", "Use it")
    tab.wait(tab.has("Incorrect API key"))
    for _ in range(2):
        tab.press("Escape")
    tab.wait("!!document.querySelector('dialog[open]')")
    tab.fill("dialog[open] input[type=password]", KEY)
    tab.click("dialog[open] button", "Use it")
    tab.wait("!document.querySelector('dialog[open]') && !!document.querySelector('#message')")
    say(tab, "hello")
    tab.wait(tab.has("You said: hello"))
    ended(tab)
    assert tab.run("[sessionStorage.length, Object.values(localStorage).join()]") == [1, ""]
    tab.reload()
    tab.wait(tab.has("You said: hello"))
    assert not any(KEY in url for url in tab.requests)
    tab.problems[:] = [text for text in tab.problems if "401" not in text]
    check(tab)
    tab.close()


def test_models_are_loaded_pinned_and_pulled(
    browser: Browser, keyed_server: str, keyed_folder: Path, axe: str
) -> None:
    tab = signed_in(browser, keyed_server)
    tab.wait(tab.has("What quantization lost"))
    for word in ("0.029", "93.4 %", "8.27", "4.1 GB"):
        assert tab.run(tab.has(word)), word
    tab.click(".card button", "Load")
    tab.wait("document.querySelectorAll('.state.ready').length === 2")
    tab.click(".card button", "Pin")
    tab.wait("!!document.querySelector('.card button[aria-pressed=true]')")
    tab.click(".card button", "Unload")
    tab.wait("document.querySelectorAll('.state.ready').length === 1")
    tab.fill("input[placeholder='org/name']", "org/new-model")
    tab.click(".card .check input")
    tab.click("button", "Pull and quantize")
    tab.wait(tab.has("org/new-model: download") + " && " + tab.has("(Q5_K_M, Q4_K_M)"))
    tab.reload()
    tab.wait(tab.has("org/new-model: download"))  # who looks again sees how far it is
    (keyed_folder / GO_FILE).touch()
    tab.wait(tab.has("org/new-model is here."))
    tab.wait("[...document.querySelectorAll('.card h2')].some((e) => e.innerText === 'org/new-model')")
    tab.fill("input[placeholder='org/name']", "org/endless")
    tab.click("button", "Pull and quantize")
    tab.click("[aria-label='Cancel org/endless']")
    tab.wait(tab.has("org/endless: cancelled."))
    tab.fill("input[placeholder='org/name']", "org/missing")
    tab.click("button", "Pull and quantize")
    tab.wait(tab.has("the pull failed: the Hub has no model org/missing"))
    tab.fill("input[placeholder='org/name']", "/etc/passwd")
    tab.click("button", "Pull and quantize")
    tab.wait(tab.has("is a path; name a model of the Hub"))
    assert findings(tab, axe) == []
    tab.run("location.hash = '#/activity'")
    tab.wait(tab.has("alice") + " && " + tab.has("bob"))
    assert findings(tab, axe) == []
    tab.problems[:] = [text for text in tab.problems if "401" not in text and "400" not in text]
    check(tab)
    tab.close()


def test_a_guest_sees_no_more_than_the_key_may(browser: Browser, keyed_server: str, guest_key: str) -> None:
    tab = signed_in(browser, keyed_server, guest_key)
    tab.wait(tab.has("lmsys/vicuna-7b-v1.5"))
    for word in ("Unload", "Pin", "Bring a model", "quantization lost"):
        assert not tab.run(tab.has(word)), word
    tab.run("location.hash = '#/'")
    tab.wait("document.activeElement?.id === 'message'")
    say(tab, "hello")
    tab.wait(tab.has("You said: hello"))
    ended(tab)
    tab.run("location.hash = '#/activity'")
    tab.wait(tab.has("This key may not see other requests.") + " && " + tab.has("Your usage"))
    assert not tab.run(tab.has("alice"))
    tab.problems[:] = [text for text in tab.problems if "403" not in text]
    check(tab)
    tab.close()
