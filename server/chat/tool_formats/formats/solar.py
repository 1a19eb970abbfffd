r"""Solar Open's format: an answer is messages of thoughts, of calls with ids, and of content.

<|think|>I should look.<|end|><|begin|>assistant<|tool_calls|><|tool_call:begin|>a1b2c3d4e5<|tool_call:name|>
get_weather<|tool_call:args|>{"city": "Paris"}<|tool_call:end|><|calls|>

There are no line breaks; they stand here for the page. Content stands behind `<|content|>`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import spelled, text_then, text_without
from server.chat.tool_formats.kinds.framed_calls import FramedCalls
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_OTHERS = _THINK, _CONTENT, _END, _NEXT = "<|think|>", "<|content|>", "<|end|>", "<|begin|>assistant"


class _Solar(FramedCalls):
    thought_marks: ClassVar = (_THINK, _END)
    next_message: ClassVar = _NEXT

    def grammar(self, job: GrammarJob) -> str:
        rules, behind = self.call_rules(job)
        calls = f"{spelled(job, self.section[0])} {behind}"
        rules = [
            *(rules if job.tools else ()),
            f"thought: {spelled(job, _THINK)} thought_text {spelled(job, _NEXT)}",
            *text_then(job, "thought_text", None, _END),
        ]
        said = f"({spelled(job, _CONTENT)})? {job.content or 'SAID'}"
        if not job.content:
            rules.append(text_without(job, "SAID", (*_OTHERS, self.section[0], self.opening)))
        found = [calls] if job.tools else []
        if not job.tools or not job.required:
            found.append(said)
        if job.tools and not job.required and not job.content:
            rules += text_then(job, "preamble", None, _END, without=(*_OTHERS, self.section[0], self.opening))
            found.append(f"{spelled(job, _CONTENT)} preamble {spelled(job, _NEXT)} {calls}")
        return "\n".join(["%llguidance {}", f"start: thought* {lark.choice(found)}", *rules])

    def reader(
        self,
        tools: Sequence[Tool],
        *,
        thoughts: tuple[str, str] | None,  # noqa: ARG002 - a `ToolFormat`'s
        thinks: bool,  # noqa: ARG002 - a `ToolFormat`'s
    ) -> PartReader:
        """Return a reader of one answer, which reads thoughts by their mark, whatever `thoughts` are."""
        names = frozenset(tool.name for tool in tools)
        return AnswerScript(lambda text: self._read_messages(text, names))

    def _read_messages(self, text: AnswerText, names: frozenset[str]) -> Steps[None]:
        def read_thought() -> Steps[None]:
            yield from text.until([_END], text.add_thought)

        def leave_out() -> Steps[None]:
            return
            yield

        others = {_THINK: read_thought, _CONTENT: leave_out, _END: leave_out, _NEXT: leave_out}
        yield from self.read(text, names, others)


FORMAT = _Solar(
    tokens=(
        "<|tool_calls|>",
        "<|calls|>",
        "<|tool_call:begin|>",
        "<|tool_call:name|>",
        "<|tool_call:args|>",
        "<|tool_call:end|>",
        _THINK,
        _CONTENT,
        _END,
        "<|begin|>",
    ),
    is_used_by=lambda template: "<|tool_call:name|>" in template,
    section=("<|tool_calls|>", "<|calls|>"),
    opening="<|tool_call:begin|>",
    before_name_expression="[a-zA-Z0-9_\\-]{1,40}",
    before_name="<|tool_call:name|>",
    after_name="<|tool_call:args|>",
    name_in_header=re.compile(r"\s*(?P<id>\S*?)\s*<\|tool_call:name\|>\s*(?P<name>\S+)\s*"),
    header_end="<|tool_call:args|>",
    closing="<|tool_call:end|>",
)
