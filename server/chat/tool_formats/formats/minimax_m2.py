r"""MiniMax M2's format: invocations with named parameters, whose strings have no quotes.

<minimax:tool_call>
<invoke name="get_weather">
<parameter name="city">Paris</parameter>
<parameter name="days">3</parameter>
</invoke>
</minimax:tool_call>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.tagged_calls import TaggedCalls

FORMAT = TaggedCalls(
    tokens=("<minimax:tool_call>", "</minimax:tool_call>"),
    is_used_by=lambda template: "<minimax:tool_call>" in template,
    section=("<minimax:tool_call>", "</minimax:tool_call>"),
    call=('<invoke name="', '">'),
    closing="</invoke>",
    key=('<parameter name="', '">'),
    value_closing="</parameter>",
)
