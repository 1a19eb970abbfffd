r"""Hermes' format, also Qwen's 2.5 and 3: each call is a JSON object between two marks.

I look at both.
<tool_call>
{"name": "get_weather", "arguments": {"city": "Paris"}}
</tool_call>
<tool_call>
{"name": "get_weather", "arguments": {"city": "Rome"}}
</tool_call>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

_OTHER_WORDS = ("<function=", "<arg_key>", "<tool_calls>", "]<]", "<minimax:")
"""The texts by which a template tells that something else stands between the same marks."""


def _is_used_by(template: str) -> bool:
    """Return True if the marks stand around objects with a name."""
    named = '"name"' in template or '\\"name\\"' in template
    return "<tool_call>" in template and named and not any(word in template for word in _OTHER_WORDS)


FORMAT = ObjectLists(
    tokens=("<tool_call>", "</tool_call>"),
    is_used_by=_is_used_by,
    opening="<tool_call>",
    closing="</tool_call>",
    has_own_marks=True,
)
