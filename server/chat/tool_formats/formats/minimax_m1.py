r"""MiniMax M1's format: JSON objects between two marks, each on a line of its own.

<tool_calls>
{"name": "get_weather", "arguments": {"city": "Paris"}}
{"name": "get_weather", "arguments": {"city": "Rome"}}
</tool_calls>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

FORMAT = ObjectLists(
    tokens=("<tool_calls>", "</tool_calls>"),
    is_used_by=lambda template: "<tool_calls>" in template and "<tool_calls>[" not in template,
    opening="<tool_calls>",
    closing="</tool_calls>",
    is_list=False,
)
