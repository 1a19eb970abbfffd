r"""Granite 3's format, a JSON list of all calls behind a mark; Granite 4 writes Hermes' format.

<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

FORMAT = ObjectLists(
    tokens=("<|tool_call|>", "<tool_call>"),
    is_used_by=lambda template: "<|tool_call|>" in template and "<|start_of_role|>" in template,
    opening="<|tool_call|>",
    other_openings=("<tool_call>",),
    is_tight=True,
)
