r"""Granite 3's format, a JSON list of all calls behind a mark; Granite 4 writes Hermes' format.

<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.listed_calls import ListedCalls

FORMAT = ListedCalls(
    opening="<|tool_call|>", other_openings=("<tool_call>",), words=("<|tool_call|>", "<|start_of_role|>")
)
