"""An answer that is drawn while it is written is as if drawn at once, by work that doesn't grow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser.chromium import Tab

pytestmark = pytest.mark.browser


def lines(form: str, n: int = 60) -> str:
    """The line `form` n times, with its number in place of `#`."""
    return "".join(form.replace("#", str(i)) for i in range(n))


TEXTS = {
    "loose list": lines("- item # with some words\n\n") + "end\n",
    "late loose list": lines("- item # with some words and more\n") + "\n- late\n- more\n\nafter",
    "numbered list": "7. first\n" + lines("8. item **#** is here\n   - nested\n") + "\nparagraph",
    "two lists": lines("- item # of the first list\n") + lines("* item # of the second\n"),
    "list and rule": lines("- item # with words and more\n") + "---\n" + lines("+ x # with words and more\n"),
    "empty items": lines("-\n- item # with words\n"),
    "lazy items": lines("- item # with words\nlazy line\n"),
    "items with blocks": lines("1. item #\n\n   words\n\n   | a |\n   |---|\n   | # |\n\n") + "end",
    "code in a list": "- a\n  ```js\n"
    + lines("  let x = #;\n")
    + "  ```\n- b\n"
    + lines("- item # has words\n"),
    "quoted list": lines("> - item # with words\n"),
    "table": "| a | b | c |\n|:--|--:|:-:|\n"
    + lines("| # | *x* `y` | $x_#$ |\n")
    + "\ntext\n\n| q |\n|---|\n",
    "code": "```python\n" + lines("x_# = #\n", 120) + "```\nafter",
    "open code": "~~~~\n" + lines("x_# = #\n\n", 120),
    "marks in code": "~~~~ js\n" + lines("~~~\nx_# = #\n", 120) + "~~~~\n",
    "indented code": "  ```\n" + lines("  x_# = #\n", 120) + "  ```\ntext",
    "formulas": "Text $a$ and\n\n$$\n" + lines("x_{#} + ") + "0\n$$\n\n" + lines("- $x^{#}$ is of item #\n"),
    "late links": lines("- see [that][r#] one\n") + "\n" + lines("[r#]: https://example.org/#\n"),
    "two line ends": lines("- item # has words\r\n", 100) + "\r\nend\r\n",
}
_BARE = """
  const bare = (node) => {
    for (const each of node.querySelectorAll(".maths")) each.textContent = each.dataset.source;
    for (const each of node.querySelectorAll(".code code"))
      each.textContent = each.textContent.trimEnd();
    return node.innerHTML;
  };"""
_STREAMED = f"""(async (texts, steps) => {{
  const {{ AnswerText }} = await import("/web/assets/js/answer/answer-text.js");
  const {{ draw, parse }} = await import("/web/assets/js/answer/markdown.js");
  const {{ codeElement }} = await import("/web/assets/js/answer/code.js");
  const {{ mathsElement }} = await import("/web/assets/js/answer/maths.js");
  {_BARE}
  const wrong = [];
  for (const [name, text] of Object.entries(texts)) {{
    const env = {{}};
    parse(text.replaceAll("\\r", ""), env);
    env.isFinal = true;
    const whole = document.createElement("div");
    whole.append(draw(parse(text.replaceAll("\\r", ""), env), {{ code: codeElement, maths: mathsElement }}));
    const expected = bare(whole);
    for (const step of steps) {{
      const root = document.createElement("div");
      document.body.append(root);
      const answer = new AnswerText(root);
      if (step === 0) answer.show(text);
      else {{
        for (let n = 0; n < text.length; n += step) {{
          answer.append(text.slice(n, n + step));
          if (step > 1 || n % 41 === 0) answer.draw();
        }}
        answer.finish();
      }}
      await answer.finished;
      if (bare(root) !== expected) wrong.push(`${{name}}, by ${{step}}`);
      root.remove();
    }}
  }}
  return wrong;
}})"""
_WORK = """(async (text, nParts) => {
  const { default: MarkdownIt } = await import("/web/assets/vendor/markdown-it.js");
  const { AnswerText } = await import("/web/assets/js/answer/answer-text.js");
  const root = document.createElement("div");
  document.body.append(root);
  const observer = new MutationObserver(() => {});
  observer.observe(root, { childList: true, characterData: true, subtree: true });
  const { parse } = MarkdownIt.prototype;
  let nChars = 0;
  MarkdownIt.prototype.parse = function (source, env) {
    nChars += source.length;
    return parse.call(this, source, env);
  };
  const answer = new AnswerText(root);
  const works = [];
  const step = 16;
  for (let part = 0; part < nParts; part += 1) {
    const begin = Math.floor((part * text.length) / nParts);
    const end = Math.floor(((part + 1) * text.length) / nParts);
    nChars = 0;
    let nNodes = 0;
    for (let n = begin; n < end; n += step) {
      answer.append(text.slice(n, Math.min(end, n + step)));
      answer.draw();
      for (const record of observer.takeRecords())
        nNodes += record.addedNodes.length + record.removedNodes.length + 1;
    }
    works.push([nChars, nNodes]);
  }
  MarkdownIt.prototype.parse = parse;
  answer.dispose();
  root.remove();
  return works;
})"""
LONG = {
    "a list": lines("- item number # of a long list, with **some** words\n", 400),
    "a table": "| name | value |\n|---|---|\n" + lines("| name # | value of # |\n", 700),
    "code": "```\n" + lines("a line of code number #\n", 800),
    "paragraphs": lines("A paragraph, the one of the number #, and `code`.\n\n", 400),
    "sections": lines(
        "### Part #\n\nWords and $x_#$.\n\n- one\n- two\n\n"
        "```py\nx = #\ny = #\n```\n\n| a |\n|---|\n| # |\n\n",
        200,
    ),
}
GROWTH = 1.5
"""The last part of a text takes at most so many times the work of an early one."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("step", [0, 1, 7, 61, 2000])
def test_a_streamed_text_is_what_a_whole_one_is(tab: Tab, step: int) -> None:
    assert tab.run(f"{_STREAMED}({json.dumps(TEXTS)}, [{step}])") == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", LONG)
def test_the_work_for_a_token_does_not_grow(tab: Tab, kind: str) -> None:
    works: Any = tab.run(f"{_WORK}({json.dumps(LONG[kind])}, 8)")
    print(kind, works)
    for n_chars, n_nodes in works[2:]:
        assert n_chars <= GROWTH * works[1][0]
        assert n_nodes <= GROWTH * works[1][1]
