"""The chat template of the tests' model: Hermes' tool calls; turns, results and schemas are easy to find.

The model's turn begins with a space where there are no tools, or where enough of their results have come:
`pico_agent` calls a tool where it begins with nothing, so an agent's loop begins for certain, and it ends.
"""

from __future__ import annotations

N_RESULTS = 3
"""The results that end an agent's loop."""

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
{%- if add_generation_prompt -%}
{%- set results = messages | selectattr('role', 'equalto', 'tool') | list | length -%}
<|im_start|>assistant{{ '\\n' if tools and results < N_RESULTS else '\\n ' }}
{%- endif -%}
""".replace("N_RESULTS", str(N_RESULTS))
