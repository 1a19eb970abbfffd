r"""GLM's format since 4.5, also Spark's, Ling's and Laguna's: a name, then keys and values in turn.

I look.
<tool_call>get_weather
<arg_key>city</arg_key>
<arg_value>Paris</arg_value>
<arg_key>days</arg_key>
<arg_value>3</arg_value>
</tool_call>

GLM 4.7, Spark and Laguna write the same without line breaks.
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.tagged_calls import TaggedCalls

FORMAT = TaggedCalls(
    tokens=("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    is_used_by=lambda template: "<arg_key>" in template and "<tool_call>" in template,
    call=("<tool_call>", ""),
    closing="</tool_call>",
    key=("<arg_key>", "</arg_key>"),
    value_opening="<arg_value>",
    value_closing="</arg_value>",
)
