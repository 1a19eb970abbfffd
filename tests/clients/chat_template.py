"""The chat template of the tests' model: Hermes' tool calls; turns, results and schemas are easy to find."""

from __future__ import annotations

CHAT_TEMPLATE = """\
{%- macro said(content) -%}
{%- if content is string -%}{{ content }}
{%- elif content is not none -%}{%- for part in content -%}{{ part.text }}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- if tools -%}
<|im_start|>tools
<tools>
{%- for tool in tools -%}{{ '\\n' + (tool | tojson) }}{%- endfor -%}
{{ '\\n' }}</tools>
A call is an object with a "name" and "arguments" between <tool_call> and </tool_call>.<|im_end|>{{ '\\n' }}
{%- endif -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ said(message.content) }}
{%- for call in message.tool_calls or [] %}
{%- if message.content or not loop.first %}{{ '\\n' }}{%- endif -%}
<tool_call>
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor -%}
<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant{{ '\\n' }}{%- endif -%}
"""
