"""A user's ways through a chat, in Chromium."""

from __future__ import annotations

import json

import pytest

from tests.browser.chromium import Tab
from tests.browser.conftest import ended, offer_tools, say

pytestmark = pytest.mark.browser

ANSWERS = "[...document.querySelectorAll('.answer .markdown')].map((e) => e.innerText.trim())"


def test_a_message_is_answered_as_it_is_written(tab: Tab) -> None:
    say(tab, "slow")
    tab.wait(tab.has("word3 "))
    assert not tab.run(tab.has("word399"))
    assert tab.run("location.hash").startswith("#/chat/chat_")
    assert tab.run("document.activeElement.id") == "message"
    tab.press("Escape")
    ended(tab)
    text = tab.run(ANSWERS)[0]
    assert text.startswith("word0 word1")
    assert "word399" not in text
    assert tab.run(tab.has("Stopped."))
    say(tab, "count")
    tab.wait(tab.has("There are 3 messages."))
    ended(tab)
    tab.click("[aria-label='Answer again']")
    tab.wait(tab.has("2 / 2"))


def test_shift_enter_is_a_new_line(tab: Tab) -> None:
    tab.focus("#message")
    tab.type("one")
    tab.press("Enter", shift=True)
    tab.type("two")
    assert tab.run("document.querySelector('#message').value") == "one\ntwo"
    tab.press("Enter")
    tab.wait(tab.has("You said: one two"))


def test_a_running_answer_goes_on_over_a_reload(tab: Tab) -> None:
    say(tab, "slow")
    tab.wait(tab.has("word20 "))
    tab.reload()
    tab.wait(tab.has("word20 "))
    assert tab.run("!!document.querySelector('[aria-label=\"Stop the answer\"]')")
    tab.wait(tab.has("word60 "))
    tab.reload()
    tab.wait(tab.has("word399"), 30)
    ended(tab)
    assert tab.run(ANSWERS) == [" ".join(f"word{i}" for i in range(400))]
    tab.reload()
    tab.wait(tab.has("word399"))
    assert tab.run(ANSWERS) == [" ".join(f"word{i}" for i in range(400))]


def test_two_tabs_watch_the_same_answer(tab: Tab) -> None:
    say(tab, "slow")
    tab.wait(tab.has("word5 "))
    address = tab.run("location.href")
    tab.run("location.hash = '#/models'")
    tab.wait(tab.has("Bring a model") + " || " + tab.has("Q4_K_M"))
    tab.run(f"location.href = {json.dumps(address)}")
    tab.wait(tab.has("word30 "))
    tab.click("[aria-label='Stop the answer']")
    ended(tab)


def test_editing_makes_a_branch_and_both_stay(tab: Tab) -> None:
    say(tab, "first thought")
    tab.wait(tab.has("You said: first thought"))
    ended(tab)
    tab.click("[aria-label='Edit this message']")
    tab.fill(".editing textarea", "second thought")
    tab.click(".editing button", "Send as a new branch")
    tab.wait(tab.has("You said: second thought"))
    ended(tab)
    assert not tab.run(tab.has("You said: first thought"))
    tab.click("[aria-label='Version before']")
    tab.wait(tab.has("You said: first thought"))
    tab.reload()
    tab.wait(tab.has("You said: first thought"))
    tab.click("[aria-label='Next version']")
    tab.wait(tab.has("You said: second thought"))


def test_answering_again_keeps_the_other_answer(tab: Tab) -> None:
    say(tab, "count")
    tab.wait(tab.has("There are 1 messages."))
    ended(tab)
    tab.click("[aria-label='Answer again']")
    tab.wait(tab.has("2 / 2"))
    ended(tab)
    say(tab, "count")
    tab.wait(tab.has("There are 3 messages."))


def test_settings_reach_the_model_and_wrong_ones_are_told(tab: Tab) -> None:
    tab.click("[aria-label='Settings of this chat']")
    tab.fill(".panel textarea", "You are a pirate.")
    tab.fill(".panel input[type=number]", "0.25")
    tab.fill(".panel .mono", "[1")
    tab.click(".panel button", "Save")
    tab.wait(tab.has("The tools are no JSON"))
    tab.fill(".panel .mono", "")
    tab.click(".panel button", "Save")
    tab.wait("!document.querySelector('dialog[open]')")
    say(tab, "system")
    tab.wait(tab.has("System: You are a pirate.. Temperature: 0.25."))
    ended(tab)
    tab.click("[aria-label='Settings of this chat']")
    tab.fill(".panel .mono:nth-of-type(1)", "")
    tab.run("document.querySelectorAll('.panel .mono')[1].focus()")
    tab.type('{"temprature": 1}')
    tab.click(".panel button", "Save")
    tab.wait(tab.has("doesn't know the parameter 'temprature'"))
    tab.problems.clear()  # the browser logs the 400
    tab.press("Escape")
    tab.wait("!document.querySelector('dialog[open]')")


def test_calls_and_thoughts_are_folded_and_a_result_goes_back(tab: Tab) -> None:
    offer_tools(tab)
    say(tab, "think")
    tab.wait(tab.has("After thinking: yes."))
    ended(tab)
    assert tab.run("document.querySelector('.thoughts').open") is False
    assert not tab.run(tab.has("weigh both sides"))
    tab.click(".thoughts summary")
    tab.wait(tab.has("weigh both sides"))
    say(tab, "tools")
    tab.wait(tab.has("get_weather"))
    ended(tab)
    tab.wait("document.querySelector('.call').open")
    assert json.loads(tab.text(".call pre")) == {"city": "Oslo", "unit": "celsius"}
    tab.fill(".results textarea", "3 degrees")
    tab.click(".results button", "Send the result")
    tab.wait(tab.has("The tool said: 3 degrees."))
    ended(tab)
    assert tab.run("document.querySelector('.call').open") is False
    tab.click(".call summary")
    tab.wait(tab.has("3 degrees\n") + " || " + tab.has("answered"))


def test_a_failed_answer_says_why(tab: Tab) -> None:
    say(tab, "fail")
    tab.wait(tab.has("the worker has died"))
    ended(tab)
    assert "Half an answer" in tab.run(ANSWERS)[0]


def test_chats_are_searched_renamed_exported_and_deleted(tab: Tab) -> None:
    say(tab, "a zebra in the garden")
    tab.wait(tab.has("You said: a zebra"))
    ended(tab)
    tab.fill(".title-field", "About stripes")
    tab.press("Enter")
    tab.wait("document.querySelector('.chats a[aria-current] .title').innerText === 'About stripes'")
    tab.run("document.activeElement.blur()")
    tab.press("/")
    assert tab.run("document.activeElement.id") == "search"
    tab.type("GARDEN zebra")
    tab.wait("document.querySelectorAll('.chats li').length === 1 && !!document.querySelector('.snippet')")
    tab.fill("#search", "nowhere-to-be-found")
    tab.wait(tab.has("No chat has all of these words."))
    tab.fill("#search", "")
    tab.wait(tab.has("About stripes"))
    tab.run(
        "(() => { const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => {"
        "  blob.text().then((t) => { window.exported = t }); return make(blob) } })()"
    )
    tab.click("[aria-label='More about this chat']")
    tab.click(".menu-body button", "Export as Markdown")
    exported = tab.wait("window.exported")
    assert "## You\n\na zebra in the garden" in exported
    tab.run("delete window.exported")
    tab.click("[aria-label='More about this chat']")
    tab.click(".menu-body button", "Export as JSON")
    exported = tab.wait("window.exported")
    titles = "[...document.querySelectorAll('.chats .title')].map((e) => e.innerText)"
    tab.run(f"window.toImport = {json.dumps(exported)}")
    _give_files(tab, "input[accept]", ("stripes.json", "window.toImport", "application/json"))
    tab.wait(f"{titles}.filter((e) => e === 'About stripes').length === 2")
    _give_files(tab, "input[accept]", ("notes.json", "'# no JSON'", "application/json"))
    tab.wait(tab.has("notes.json is no JSON"))
    tab.wait(tab.has("You said: a zebra"))


LISTED = (
    "[...document.querySelectorAll('.chats .title')].filter((e) => e.innerText.startsWith('a whale')).length"
)


def test_a_deletion_can_be_undone_and_is_done_when_the_page_goes(tab: Tab) -> None:
    say(tab, "a whale in the pond")
    tab.wait(tab.has("You said: a whale"))
    ended(tab)
    for _ in range(2):
        tab.click("[aria-label='More about this chat']")
        tab.click(".menu-body button", "Delete")
        tab.wait(tab.has("What is on your mind?") + f" && {LISTED} === 0")
        tab.click(".toast button", "Undo")
        tab.wait(tab.has("You said: a whale") + f" && {LISTED} === 1")
        assert not tab.run("!!document.querySelector('.toast')")
    tab.click("[aria-label='More about this chat']")
    tab.click(".menu-body button", "Delete")
    tab.wait(tab.has("Deleted"))
    tab.reload()
    tab.wait("!!document.querySelector('#message')")
    count = "fetch('/web/chats?query=whale').then((r) => r.json()).then((r) => r.data.length)"
    tab.wait(f"{count}.then((n) => n === 0)")


def test_what_is_written_outlives_a_reload(tab: Tab) -> None:
    tab.focus("#message")
    tab.type("half a thou")
    tab.reload()
    tab.wait("document.querySelector('#message')?.value === 'half a thou'")
    tab.focus("#message")
    tab.type("ght")
    tab.press("Enter")
    tab.wait(tab.has("You said: half a thought"))
    ended(tab)
    tab.run("location.hash = '#/'")
    tab.wait(tab.has("What is on your mind?"))
    assert tab.run("document.querySelector('#message').value") == ""


def test_text_files_go_with_a_message_and_others_are_told(tab: Tab) -> None:
    files = (("a.py", "'print(1)\\n```\\n'", "text/x-python"), ("b.txt", "'second'", "text/plain"))
    _give_files(tab, ".composer input[type=file]", *files)
    tab.wait("document.querySelectorAll('.attached li').length === 2")
    tab.click("[aria-label='Remove b.txt']")
    tab.wait("document.querySelectorAll('.attached li').length === 1")
    picture = ("cat.png", "new Uint8Array([137, 80, 78, 71, 0, 1])", "image/png")
    _give_files(tab, ".composer input[type=file]", picture)
    tab.wait(tab.has("cat.png is image; the models here read text alone."))
    _give_files(tab, ".composer input[type=file]", ("x.bin", "new Uint8Array([255, 0, 1])", ""))
    tab.wait(tab.has("x.bin isn't text in UTF-8"))
    say(tab, "what is this?")
    bubble = "document.querySelector('.question .bubble').innerText"
    tab.wait(f"{bubble}.endsWith('a.py:\\n````py\\nprint(1)\\n```\\n````')")
    ended(tab)
    assert tab.text(".chats a[aria-current] .title") == "what is this?"
    assert not tab.run("!!document.querySelector('.attached')")


def test_a_huge_pasted_text_is_attached_and_shown_in_parts(tab: Tab) -> None:
    tab.focus("#message")
    tab.run(
        "(() => { const data = new DataTransfer();"
        "data.setData('text/plain', 'word '.repeat(50000) + '\\n' + 'a line\\n\\n'.repeat(30000));"
        "document.activeElement.dispatchEvent("
        "  new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true })) })()"
    )
    tab.wait(tab.has("pasted-1.txt") + " && " + tab.has("490,001 characters"))
    say(tab, "summarize")
    tab.wait(tab.has("Show all 490,"))
    ended(tab)
    assert len(tab.text(".question .bubble")) < 12_000
    tab.click(".question > .button")
    tab.wait("document.querySelectorAll('.text-part').length > 100")
    assert tab.run("document.activeElement.className") == "bubble huge"
    parts = tab.run("[...document.querySelectorAll('.text-part')].map((e) => e.textContent)")
    assert max(map(len, parts)) < 5_000  # so that few of them are laid out at a time
    shown = "".join(parts).replace("\n", "")
    assert shown == "summarize" + "pasted-1.txt:```txt" + "word " * 50_000 + "a line" * 30_000 + "```"


def test_the_server_runs_its_tools_when_a_user_says_so(tab: Tab) -> None:
    tab.click("[aria-label='Settings of this chat']")
    tab.wait(tab.has("Tools of this server") + " && " + tab.has("example_echo"))
    tab.click(".panel .check code", "get_info")
    tab.wait("JSON.parse(document.querySelector('.panel .mono').value)[0].function.name === 'get_info'")
    tab.click(".panel button", "Save")
    tab.wait("!document.querySelector('dialog[open]')")
    say(tab, "info please")
    tab.wait("!!document.querySelector('.results')")
    ended(tab)
    assert tab.run("document.querySelector('.results textarea').value") == ""
    tab.click(".results button", "Run get_info on the server")
    tab.wait("document.querySelector('.results textarea').value.includes('Linux')")
    tab.click(".results button", "Send the result")
    tab.wait(tab.has("The tool said:"))


def test_who_reads_further_up_stays_there(tab: Tab) -> None:
    say(tab, "long 600 2000")
    ended(tab)
    place = "document.querySelector('.scroller').scrollTop"
    near = "(({scrollHeight, scrollTop, clientHeight}) => scrollHeight - scrollTop - clientHeight < 3)"
    at_end = f"{near}(document.querySelector('.scroller'))"
    tab.wait(at_end)
    say(tab, "slow")
    tab.wait(tab.has("word5 "))
    tab.run("document.querySelector('.scroller').scrollTop = 200")
    tab.wait("!!document.querySelector('.to-end')")
    tab.wait(tab.has("word30 "))
    assert tab.run(place) == 200
    tab.click(".to-end")
    tab.wait(f"{at_end} && !document.querySelector('.to-end')")
    tab.wait(tab.has("word200 "))
    assert tab.run(at_end)
    tab.press("Escape")
    ended(tab)


def _give_files(tab: Tab, selector: str, *files: tuple[str, str, str]) -> None:
    """Choose files in a field: names, expressions of what is in them, types."""
    made = ", ".join(f"new File([{content}], {name!r}, {{type: {kind!r}}})" for name, content, kind in files)
    tab.run(
        f"(() => {{ const input = document.querySelector({json.dumps(selector)});"
        f"const data = new DataTransfer(); for (const file of [{made}]) data.items.add(file);"
        "input.files = data.files;"
        "input.dispatchEvent(new Event('change', { bubbles: true })) })()"
    )
