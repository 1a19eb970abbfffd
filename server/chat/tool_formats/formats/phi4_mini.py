r"""Phi-4-mini's format: a JSON list of all calls between two marks.

<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]<|/tool_call|>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.listed_calls import ListedCalls

FORMAT = ListedCalls(
    opening="<|tool_call|>",
    closing="<|/tool_call|>",
    other_openings=("functools",),
    words=("<|tool|>", "<|/tool|>"),
)
