r"""DeepSeek V4's format: invocations in DSML, whose parameters say if they are strings.

<｜DSML｜tool_calls>
<｜DSML｜invoke name="get_weather">
<｜DSML｜parameter name="city" string="true">Paris</｜DSML｜parameter>
<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜tool_calls>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.tagged_calls import TaggedCalls

FORMAT = TaggedCalls(
    tokens=("｜DSML｜",),
    is_used_by=lambda template: "｜DSML｜" in template and "dsml_token + 'tool_calls>" in template,
    section=("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
    call=('<｜DSML｜invoke name="', '">'),
    closing="</｜DSML｜invoke>",
    key=('<｜DSML｜parameter name="', ">"),
    value_closing="</｜DSML｜parameter>",
    string_attribute='" string="true">',
    other_attribute='" string="false">',
)
