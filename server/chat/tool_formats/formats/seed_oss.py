r"""Seed-OSS's format: one function between two marks, and its parameters each in a tag of its own.

<seed:tool_call>
<function=get_weather>
<parameter=city>Paris</parameter>
<parameter=days>3</parameter>
</function>
</seed:tool_call>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.tagged_calls import TaggedCalls

FORMAT = TaggedCalls(
    tokens=("<seed:tool_call>", "</seed:tool_call>"),
    is_used_by=lambda template: "seed:tool_call" in template,
    section=("<seed:tool_call>", "</seed:tool_call>"),
    one_per_section=True,
    call=("<function=", ">"),
    closing="</function>",
    key=("<parameter=", ">"),
    value_closing="</parameter>",
    is_python=True,
)
