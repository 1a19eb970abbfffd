r"""Kimi K2's format: each call is a name with a number, and its JSON, between marks.

<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>
{"city": "Paris"}<|tool_call_end|><|tool_calls_section_end|>

There is no line break; one stands here for the page.
"""

from __future__ import annotations

import re

from server.chat.tool_formats.kinds.framed_calls import FramedCalls

FORMAT = FramedCalls(
    tokens=(
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
        "<|tool_call_begin|>",
        "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
    ),
    is_used_by=lambda template: "<|tool_call_argument_begin|>" in template,
    section=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    opening="<|tool_call_begin|>",
    before_name="functions.",
    after_name="<|tool_call_argument_begin|>",
    after_name_expression=r":[0-9]{1,3}",
    name_in_header=re.compile(r"\s*(?P<id>(?:functions\.)?(?P<name>[^:\s]+)(?::\d+)?)\s*"),
    header_end="<|tool_call_argument_begin|>",
    closing="<|tool_call_end|>",
)
