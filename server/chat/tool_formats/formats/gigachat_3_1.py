r"""GigaChat 3.1's format: one JSON object behind a mark.

I look.<|function_call|>{"name": "get_weather", "arguments": {"city": "Paris"}}<|message_sep|>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

FORMAT = ObjectLists(
    tokens=("<|function_call|>", "<|message_sep|>"),
    is_used_by=lambda template: "<|function_call|>" in template,
    opening="<|function_call|>",
    closing="<|message_sep|>",
    is_single=True,
)
