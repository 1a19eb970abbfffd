r"""DeepSeek V3.1's format: each call is its name and its JSON between marks.

I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris"}
<｜tool▁call▁end｜><｜tool▁calls▁end｜>

There is no line break; one stands here for the page.
"""

from __future__ import annotations

import re

from server.chat.tool_formats.formats.deepseek_r1 import OTHER_SECTIONS, TOKENS
from server.chat.tool_formats.kinds.framed_calls import FramedCalls

FORMAT = FramedCalls(
    tokens=TOKENS,
    is_used_by=lambda template: "<｜tool▁call▁begin｜>" in template and "```json" not in template,
    section=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    other_openings=OTHER_SECTIONS,
    opening="<｜tool▁call▁begin｜>",
    after_name="<｜tool▁sep｜>",
    name_in_header=re.compile(r"\s*(?P<name>\S+)\s*"),
    header_end="<｜tool▁sep｜>",
    closing="<｜tool▁call▁end｜>",
    between=r"/\n?/",
)
