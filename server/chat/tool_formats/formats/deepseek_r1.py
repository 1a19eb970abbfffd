r"""DeepSeek R1's and V3's format: a call is a fence of JSON between marks, behind type and name.

I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather
```json
{"city": "Paris"}
```<｜tool▁call▁end｜><｜tool▁calls▁end｜>
"""

from __future__ import annotations

import re

from server.chat.tool_formats.kinds.framed_calls import FramedCalls

OTHER_SECTIONS = (
    "<｜tool_calls_begin｜>",
    "<｜tool calls begin｜>",
    r"<｜tool\_calls\_begin｜>",
    "<｜tool▁calls｜>",
)
"""Distilled models write these in the place of the mark that begins the calls."""

TOKENS = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
)

FORMAT = FramedCalls(
    tokens=TOKENS,
    is_used_by=lambda template: "<｜tool▁call▁begin｜>" in template and "```json" in template,
    section=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    other_openings=OTHER_SECTIONS,
    opening="<｜tool▁call▁begin｜>",
    before_name="function<｜tool▁sep｜>",
    after_name="\n```json\n",
    name_in_header=re.compile(r"\s*(?:function)?\s*<｜tool▁sep｜>\s*(?P<name>\S+)\s*"),
    header_end="```json",
    closing="\n```<｜tool▁call▁end｜>",
    loose_closings=("```\n<｜tool▁call▁end｜>", "<｜tool▁call▁end｜>"),
    between=r"/\n?/",
)
