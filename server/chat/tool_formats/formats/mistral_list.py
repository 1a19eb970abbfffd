r"""Mistral's format up to Nemo: a JSON list of all calls behind a mark, some with ids of their own.

[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "a1B2c3D4e"}]
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.listed_calls import ListedCalls

FORMAT = ListedCalls(
    opening="[TOOL_CALLS]",
    words=("[TOOL_CALLS]",),
    other_words=("[ARGS]",),
    behind=r'(", \"id\": \"" /[a-zA-Z0-9]{9}/ "\"")?',
)
