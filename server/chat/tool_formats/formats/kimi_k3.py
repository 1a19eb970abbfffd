r"""Kimi K3's format: content and calls are elements between marks, whose arguments say their types.

<|open|>response<|sep|>I look.<|close|>response<|sep|><|open|>tools<|sep|>
<|open|>call tool="get_weather" index="1"<|sep|>
<|open|>argument key="city" type="string"<|sep|>Paris<|close|>argument<|sep|>
<|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|>

There are no line breaks; they stand here for the page.
"""

from __future__ import annotations

from server.chat.tool_formats.grammar.answer_rules import repeated, spelled, text_then, thoughts_first
from server.chat.tool_formats.kinds.tagged_calls import TaggedCalls
from server.chat.tool_formats.tool_format import GrammarJob

_RESPONSE = ("<|open|>response<|sep|>", "<|close|>response<|sep|>")
_TOOLS = ("<|open|>tools<|sep|>", "<|close|>tools<|sep|>")
_MESSAGE_END = "<|close|>message<|sep|>"


class _KimiK3(TaggedCalls):
    def grammar(self, job: GrammarJob) -> str:
        thoughts, rules = thoughts_first(job)
        rules += self.rules(job)
        opening, closing = (f"({spelled(job, mark)})" for mark in _RESPONSE)  # the prompt may have the first
        call = f"{spelled(job, self.call[0])} named"
        tools = f"{spelled(job, _TOOLS[0])} {repeated(call, call, job)} {spelled(job, _TOOLS[1])}"
        if job.content:
            response = f"{opening}? {job.content} {closing}"
        else:
            response = f"{opening}? response_text"
            rules += text_then(job, "response_text", None, _RESPONSE[1], without=self.openings)
        if not job.tools:
            body = response
        elif job.required:
            body = f"({opening}? {closing})? {tools}"
        elif job.content:
            body = f"({response} | ({opening}? {closing})? {tools})"
        else:
            body = f"({response} {tools}? | {tools})".replace(f"{tools}?", f"({tools})?")
        return "\n".join(
            ["%llguidance {}", f"start: {thoughts} {body} ({spelled(job, _MESSAGE_END)})?", *rules]
        )


FORMAT = _KimiK3(
    tokens=("<|open|>", "<|close|>", "<|sep|>"),
    is_used_by=lambda template: "<|open|>" in template and "<|close|>" in template and "'call'" in template,
    section=_TOOLS,
    call=('<|open|>call tool="', "<|sep|>"),
    after_name='" index="[0-9]{1,3}"',
    closing="<|close|>call<|sep|>",
    key=('<|open|>argument key="', "<|sep|>"),
    value_closing="<|close|>argument<|sep|>",
    string_attribute='" type="string"<|sep|>',
    other_attribute='" type="{}"<|sep|>',
    other_types="number|boolean|null|object|array",
    content=(*_RESPONSE, _MESSAGE_END),
)
