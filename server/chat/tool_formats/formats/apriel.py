r"""Apriel's format: a list of JSON objects between two marks.

I look.
<tool_calls>[{"name": "get_weather", "arguments": {"city": "Paris"}}]</tool_calls>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

FORMAT = ObjectLists(
    tokens=("<tool_calls>", "</tool_calls>"),
    is_used_by=lambda template: "<tool_calls>[" in template,
    opening="<tool_calls>",
    closing="</tool_calls>",
)
