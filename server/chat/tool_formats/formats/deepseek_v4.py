r"""DeepSeek V4's format: V3.2's, with another name of the section around the calls.

<｜DSML｜tool_calls>
<｜DSML｜invoke name="get_weather">
<｜DSML｜parameter name="city" string="true">Paris</｜DSML｜parameter>
<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜tool_calls>
"""

from __future__ import annotations

from dataclasses import replace

from server.chat.tool_formats.formats import deepseek_v3_2

FORMAT = replace(
    deepseek_v3_2.FORMAT,
    is_used_by=lambda template: "｜DSML｜" in template and "dsml_token + 'tool_calls>" in template,
    section=("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
)
