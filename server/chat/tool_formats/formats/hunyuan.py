r"""Hunyuan's format of Hy3: GLM's keys and values, with other marks around calls and names.

<tool_calls:opensource>
<tool_call:opensource>get_weather<tool_sep:opensource>
<arg_key:opensource>city</arg_key:opensource>
<arg_value:opensource>Paris</arg_value:opensource>
</tool_call:opensource>
</tool_calls:opensource>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.tagged_calls import TaggedCalls

_NAMES = ("tool_calls", "tool_call", "arg_key", "arg_value")

FORMAT = TaggedCalls(
    tokens=(
        *(f"<{slash}{name}:opensource>" for name in _NAMES for slash in ("", "/")),
        "<tool_sep:opensource>",
    ),
    is_used_by=lambda template: (
        ":opensource" in template and "tool_sep" in template and "arg_key" in template
    ),
    section=("<tool_calls:opensource>", "</tool_calls:opensource>"),
    call=("<tool_call:opensource>", "<tool_sep:opensource>"),
    closing="</tool_call:opensource>",
    key=("<arg_key:opensource>", "</arg_key:opensource>"),
    value_opening="<arg_value:opensource>",
    value_closing="</arg_value:opensource>",
)
