r"""DeepSeek V3.2's format: invocations in DSML, whose parameters say if they are strings.

<｜DSML｜function_calls>
<｜DSML｜invoke name="get_weather">
<｜DSML｜parameter name="city" string="true">Paris</｜DSML｜parameter>
<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜function_calls>
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.tagged_calls import TaggedCalls

FORMAT = TaggedCalls(
    tokens=("｜DSML｜",),
    is_used_by=lambda template: "｜DSML｜" in template and "dsml_token + 'function_calls>" in template,
    section=("<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
    call=('<｜DSML｜invoke name="', '">'),
    closing="</｜DSML｜invoke>",
    key=('<｜DSML｜parameter name="', ">"),
    value_closing="</｜DSML｜parameter>",
    string_attribute='" string="true">',
    other_attribute='" string="false">',
)
