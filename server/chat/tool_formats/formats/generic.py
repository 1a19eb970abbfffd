r"""The format taught to models whose template knows no tools: Hermes', with marks of plain text.

I look.
<tool_call>
{"name": "get_weather", "arguments": {"city": "Paris"}}
</tool_call>
"""

from __future__ import annotations

from server.chat.tool_formats.formats.hermes import Hermes


class _Generic(Hermes):
    def matches(self, template: str) -> bool:  # noqa: ARG002 -- no template tells it: it is what is left
        return False


FORMAT = _Generic()
