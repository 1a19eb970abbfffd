r"""Command-R+'s format: a fence of JSON with a list of actions.

Action:
```json
[
    {
        "tool_name": "get_weather",
        "parameters": {
            "city": "Paris"
        }
    }
]
```
"""

from __future__ import annotations

from server.chat.tool_formats.kinds.object_lists import ObjectLists

FORMAT = ObjectLists(
    tokens=(),
    is_used_by=lambda template: (
        "\nAction:\n```json" in template.replace("\\n", "\n") and "<|START_ACTION|>" not in template
    ),
    opening="Action:\n```json\n",
    other_openings=("Action: ```json\n", "Action:```json\n"),
    closing="```",
    name_key="tool_name",
    arguments_key="parameters",
    is_indented=True,
)
