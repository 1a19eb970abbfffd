r"""Muse's format: an answer is messages to recipients: itself for thoughts, a tool, or the user.

 to=self<|message|>I should look.<|eom|><|start|>assistant to=get_weather<|message|><atem:function_calls>
<atem:invoke name="get_weather">
<atem:parameter name="city">Paris</atem:parameter>
</atem:invoke>
</atem:function_calls><|eom|><|start|>assistant to=user<|message|>It rains.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import spelled, text_then, text_without
from server.chat.tool_formats.kinds.tagged_calls import TaggedCalls
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_START, _MESSAGE, _END_MESSAGE, _END_TURN = "<|start|>", "<|message|>", "<|eom|>", "<|eot|>"
_SECTION = ("<atem:function_calls>", "</atem:function_calls>")
_BODY_ENDS = (_END_MESSAGE, _END_TURN, _START)

_CALLS = TaggedCalls(
    tokens=(),
    is_used_by=lambda template: _SECTION[0] in template,
    section=_SECTION,
    call=('<atem:invoke name="', '">'),
    closing="</atem:invoke>",
    key=('<atem:parameter name="', '">'),
    value_closing="</atem:parameter>",
)


class _Muse:
    marks = (_START, _MESSAGE, _END_MESSAGE, _END_TURN)
    thought_marks = (f" to=self{_MESSAGE}", _END_MESSAGE)
    next_message = f"{_START}assistant"

    def matches(self, template: str) -> bool:
        return _CALLS.matches(template)

    def grammar(self, job: GrammarJob) -> str:
        """Return the grammar: the recipient of a call is the tool that it names."""
        message, next_message = spelled(job, _MESSAGE), f'{spelled(job, _START)} "assistant"'
        rules = [
            *_CALLS.rules(job),
            f'thought: " to=self" {message} thought_text {next_message}',
            *text_then(job, "thought_text", None, _END_MESSAGE, without=_BODY_ENDS),
            f'said: " to=user" {message} {job.content or "SAID"}',
        ]
        if not job.content:
            rules.append(text_without(job, "SAID", _BODY_ENDS))
        calls = []
        for place, tool in enumerate(job.tools):
            head = f"{spelled(job, f' to={tool.name}')} {message} {spelled(job, _SECTION[0])} gap"
            body = (
                f"{spelled(job, _CALLS.call[0])} tool_{lark.letters(place)} gap {spelled(job, _SECTION[1])}"
            )
            calls.append(f"{head} {body}")
        answer = "said"
        if calls:
            rules.append(f"call: {' | '.join(calls)}")
            more = f"({spelled(job, _END_MESSAGE)} {next_message} call)*" if job.parallel else ""
            answer = f"call {more}" if job.required else f"(said | call {more})"
        return "\n".join(["%llguidance {}", f"start: thought* {answer}", *rules])

    def reader(
        self,
        tools: Sequence[Tool],
        *,
        thoughts: tuple[str, str] | None,  # noqa: ARG002 - a `ToolFormat`'s
        thinks: bool,
    ) -> PartReader:
        """Return a reader of one answer, which reads thoughts by their recipient, whatever `thoughts` are."""
        return AnswerScript(lambda text: _read(text, {tool.name: tool for tool in tools}, thinks=thinks))


def _read(text: AnswerText, tools: dict[str, Tool], *, thinks: bool) -> Steps[None]:
    recipient = "self" if thinks else "user"
    if (yield from text.mark([" to=", _MESSAGE, _START], skip="", take=False)) is not None:
        recipient = yield from _header(text)
    while True:
        if recipient == "self":
            mark = yield from text.until(_BODY_ENDS, text.add_thought)
        else:
            mark = yield from text.until([_SECTION[0], *_BODY_ENDS])
            if mark == _SECTION[0]:
                yield from _CALLS.read_calls(text, tools, mark)
                continue
        if mark is None:
            return
        if mark == _START or (yield from text.mark([_START])) is not None:
            recipient = yield from _header(text)


def _header(text: AnswerText) -> Steps[str]:
    """Take a message's header; return its recipient."""
    header, mark = yield from text.word([_MESSAGE])
    if mark is None and " to=" not in header and header.strip() != "assistant"[: len(header.strip())]:
        text.add_content(header)
    return header.rpartition("to=")[2].strip() if "to=" in header else "user"


FORMAT = _Muse()
