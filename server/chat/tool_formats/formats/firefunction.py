r"""Firefunction's format, also Phi-4's own: a JSON list of all calls behind a word.

I look at both. functools[{"name": "get_weather", "arguments": {"city": "Paris"}}]
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

FORMAT = ObjectLists(
    tokens=(" functools", "functools"),
    is_used_by=lambda template: "functools[" in template,
    opening=" functools",
    other_openings=("functools",),
    is_tight=True,
)
