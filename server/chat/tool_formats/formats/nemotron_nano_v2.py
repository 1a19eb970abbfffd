r"""Nemotron Nano v2's format: a list of JSON objects between two marks.

<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Paris"}}]</TOOLCALL>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

FORMAT = ObjectLists(
    tokens=("<TOOLCALL>", "</TOOLCALL>"),
    is_used_by=lambda template: "<TOOLCALL>[" in template,
    opening="<TOOLCALL>",
    closing="</TOOLCALL>",
)
