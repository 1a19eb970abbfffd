r"""GigaChat 3's format: one JSON object in a message of its own.

I look.<|message_sep|>

function call<|role_sep|>
{"name": "get_weather", "arguments": {"city": "Paris"}}<|message_sep|>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

FORMAT = ObjectLists(
    tokens=("<|role_sep|>", "<|message_sep|>"),
    is_used_by=lambda template: (
        "function call" in template and "<|role_sep|>" in template and "<|function_call|>" not in template
    ),
    opening="function call<|role_sep|>\n",
    late_openings=("<|message_sep|>\n\nfunction call<|role_sep|>\n",),
    closing="<|message_sep|>",
    is_single=True,
)
