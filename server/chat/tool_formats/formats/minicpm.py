r"""MiniCPM 5's format: functions with named parameters, without marks around all calls.

<function name="get_weather"><param name="city">Paris</param><param name="days">3</param></function>

A string that has a mark in it stands in a CDATA section.
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.tagged_calls import TaggedCalls

FORMAT = TaggedCalls(
    tokens=("<function", "</function>", "<param", "</param>"),
    is_used_by=lambda template: '<function name="' in template and '<param name="' in template,
    call=('<function name="', '">'),
    closing="</function>",
    key=('<param name="', '">'),
    value_closing="</param>",
    is_python=True,
    has_cdata=True,
)
