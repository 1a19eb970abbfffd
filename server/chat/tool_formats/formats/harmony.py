r"""Harmony, gpt-oss's format: an answer is messages in channels, for thoughts, calls and content.

<|channel|>analysis<|message|>I should look.<|end|>
<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>
{"city": "Paris"}<|call|>

There are no line breaks; they stand here for the page. The recipient may stand in front of the channel, as
templates render it. What has no recipient is a thought in `analysis`, and content in the other channels.
A call ends the answer, so there is one at most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import spelled, text_then, text_without
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_START, _CHANNEL, _MESSAGE, _END = "<|start|>", "<|channel|>", "<|message|>", "<|end|>"
_CONSTRAIN, _CALL, _RETURN = "<|constrain|>", "<|call|>", "<|return|>"
_RECIPIENT = re.compile(r"\bto=(?:functions\.)?(\S+)")
_BODY_ENDS = (_END, _CALL, _RETURN, _START, _CHANNEL)


class _Harmony:
    marks = (_START, _CHANNEL, _MESSAGE, _END, _CONSTRAIN, _CALL, _RETURN)
    thought_marks = (f"{_CHANNEL}analysis{_MESSAGE}", _END)
    next_message = f"{_START}assistant"

    def matches(self, template: str) -> bool:
        return _CHANNEL in template and "analysis" in template and "commentary" in template

    def grammar(self, job: GrammarJob) -> str:
        channel, message = spelled(job, _CHANNEL), spelled(job, _MESSAGE)
        next_message = f'{spelled(job, _START)} "assistant"'
        rules = [
            f'thought: {channel} "analysis" {message} thought_text {next_message}',
            *text_then(job, "thought_text", None, _END, without=_BODY_ENDS),
            f'final: {channel} "final" {message} {job.content or "FINAL"}',
        ]
        if not job.content:
            rules.append(text_without(job, "FINAL", _BODY_ENDS))
        if not job.tools:
            answer = "final"
        else:
            calls = []
            for tool in job.tools:
                to = f" to=functions.{tool.name}"
                head = (
                    f'({channel} {lark.quoted("commentary" + to)} | {lark.quoted(to)} {channel} "commentary")'
                )
                calls.append(f"{head} kind {message} {lark.json_rule(lark.arguments_schema(tool))}")
            rules += [
                f"call: {' | '.join(calls)}",
                f'kind: (" " {spelled(job, _CONSTRAIN)} "json" | " json")?',
            ]
            answer = "call"
            if not job.required:
                rules.append(f'preamble: {channel} "commentary" {message} thought_text {next_message}')
                answer = "(final | preamble? call)"
        opened = "(thought_text " + next_message + ")? " if job.thinks else ""
        return "\n".join(["%llguidance {}", f"start: {opened}thought* {answer}", *rules])

    def reader(
        self,
        tools: Sequence[Tool],
        *,
        thoughts: tuple[str, str] | None,  # noqa: ARG002 - a `ToolFormat`'s
        thinks: bool,
    ) -> PartReader:
        """Return a reader of one answer, which reads thoughts by their channel, whatever `thoughts` are."""
        names = frozenset(tool.name for tool in tools)
        return AnswerScript(lambda text: _read(text, names, thinks=thinks))


def _read(text: AnswerText, names: frozenset[str], *, thinks: bool) -> Steps[None]:
    kinds: set[str] = set()
    if (yield from text.mark([_CHANNEL, " to=", _START, _MESSAGE], skip="", take=False)) is None:
        if not text.buffer.text:
            return
        kinds.add("thought" if thinks else "content")  # the prompt has begun the message
        mark = yield from text.until(_BODY_ENDS, text.add_thought if thinks else text.add_content)
        text.buffer.text = (mark if mark in (_START, _CHANNEL) else "") + text.buffer.text
    while text.buffer.text or not text.is_ended:
        header, mark = yield from text.word([_MESSAGE])
        if mark is None:
            _add_cut_header(text, header)
            return
        recipient = _RECIPIENT.search(header)
        if recipient and recipient[1].split("<")[0] in names:
            text.begin_call(recipient[1].split("<")[0])
            if not (yield from text.json_arguments()):
                return
            text.end_call()
            mark = yield from text.mark(_BODY_ENDS)
        elif recipient and recipient[1].split("<")[0] not in ("assistant", "user", "all"):
            text.add_content(header + _MESSAGE)
            mark = yield from text.until(_BODY_ENDS)
        else:
            is_thought = header.rpartition(_CHANNEL)[2].strip().startswith("analysis")
            add = text.add_thought if is_thought else text.add_content
            kind = "thought" if is_thought else "content"
            if kind in kinds:
                add("\n\n")
            kinds.add(kind)
            mark = yield from text.until(_BODY_ENDS, add)
        if mark in (_START, _CHANNEL):
            text.buffer.text = mark + text.buffer.text
        yield from text.skip()


def _add_cut_header(text: AnswerText, header: str) -> None:
    """Hand out what may be words of the model; the beginning of a header is none."""
    words = re.sub(r"<\|[^|]*\|?>?|\bassistant\b|\bto=\S*|\b(analysis|commentary|final)\b", "", header)
    if words.strip():
        text.add_content(header)


FORMAT = _Harmony()
