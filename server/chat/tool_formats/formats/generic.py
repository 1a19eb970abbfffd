r"""The format taught to models whose template knows no tools: Hermes', with marks of plain text.

I look.
<tool_call>
{"name": "get_weather", "arguments": {"city": "Paris"}}
</tool_call>
"""

from __future__ import annotations

from dataclasses import replace

from server.chat.tool_formats.formats import hermes

FORMAT = replace(hermes.FORMAT, is_used_by=lambda _: False)  # no template tells it: it is what is left
