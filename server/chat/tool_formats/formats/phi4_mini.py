r"""Phi-4-mini's format: a JSON list of all calls between two marks.

<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]<|/tool_call|>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

FORMAT = ObjectLists(
    tokens=("<|tool_call|>", "<|/tool_call|>", "functools"),
    is_used_by=lambda template: "<|tool|>" in template and "<|/tool|>" in template,
    opening="<|tool_call|>",
    closing="<|/tool_call|>",
    other_openings=("functools",),
    is_tight=True,
)
