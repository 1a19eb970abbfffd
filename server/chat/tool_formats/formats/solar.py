r"""Solar Open's format: each call is an id, a name and JSON, between marks.

<|tool_calls|><|tool_call:begin|>a1b2c3d4e5<|tool_call:name|>get_weather<|tool_call:args|>{"city": "Paris"}
<|tool_call:end|><|calls|>
"""

from __future__ import annotations

import re

from server.chat.tool_formats.kinds.framed_calls import FramedCalls

FORMAT = FramedCalls(
    tokens=(
        "<|tool_calls|>",
        "<|calls|>",
        "<|tool_call:begin|>",
        "<|tool_call:name|>",
        "<|tool_call:args|>",
        "<|tool_call:end|>",
    ),
    is_used_by=lambda template: "<|tool_call:name|>" in template,
    section=("<|tool_calls|>", "<|calls|>"),
    opening="<|tool_call:begin|>",
    before_name_expression="[a-zA-Z0-9_\\-]{1,40}",
    before_name="<|tool_call:name|>",
    after_name="<|tool_call:args|>",
    name_in_header=re.compile(r"\s*(?P<id>\S*?)\s*<\|tool_call:name\|>\s*(?P<name>\S+)\s*"),
    header_end="<|tool_call:args|>",
    closing="<|tool_call:end|>",
)
