r"""Mistral's format up to Nemo: a JSON list of all calls behind a mark, some with ids of their own.

[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "a1B2c3D4e"}]
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

FORMAT = ObjectLists(
    tokens=("[TOOL_CALLS]",),
    is_used_by=lambda template: "[TOOL_CALLS]" in template and "[ARGS]" not in template,
    opening="[TOOL_CALLS]",
    is_tight=True,
    behind=r'(", \"id\": \"" /[a-zA-Z0-9]{9}/ "\"")?',
)
