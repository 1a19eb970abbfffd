"""Hermes' raw answers."""

from __future__ import annotations

import json

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_THINK = ("<think>", "</think>")
_PARIS = Call("get_weather", {"city": "Paris"})
_ONE = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'

SAMPLES = [
    Sample("It is sunny.", content="It is sunny."),
    Sample(_ONE, calls=(_PARIS,)),
    Sample(f"I look.\n\n{_ONE}\n{_ONE}\n", content="I look.", calls=(_PARIS, _PARIS)),
    Sample(
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n<tool_call>{"name": "now"}</tool_call>',
        calls=(Call("now", {}), Call("now", {})),
    ),
    Sample(
        f'<tool_call>\n{{"arguments": {json.dumps({"code": CODE})}, "name": "run"}}\n</tool_call>',
        calls=(Call("run", {"code": CODE}),),
    ),
    Sample(
        f"<think>\nIs it <tool_call>?\n</think>\n\n{_ONE}",
        thoughts="Is it <tool_call>?",
        calls=(_PARIS,),
        marks=_THINK,
    ),
    Sample(f"Which?\n</think>\n\nSo.\n{_ONE}", "So.", (_PARIS,), "Which?", _THINK, thinks=True),
    Sample("Hm", thoughts="Hm", marks=_THINK, thinks=True),
    Sample("</think>\n\nSo.", content="So.", marks=_THINK),  # no thoughts, and it says so
    Sample("</thi", content="</thi", marks=_THINK),
    # without marks, in a fence, arguments under another key or as a string
    Sample('{"name": "get_weather", "parameters": {"city": "Paris"}}', calls=(_PARIS,)),
    Sample(
        '[{"name": "now"}, {"name": "get_weather", "arguments": {"city": "Paris"}}]',
        calls=(Call("now", {}), _PARIS),
    ),
    Sample('```json\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n```', calls=(_PARIS,)),
    Sample('{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}', calls=(_PARIS,)),
    Sample('{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>', calls=(_PARIS,)),
    # no calls: unknown tools, other objects, marks in text
    Sample('{"name": "Bob", "age": 3}', content='{"name": "Bob", "age": 3}'),
    Sample(
        f'<tool_call>\n{{"name": "fly", "arguments": {{}}}}\n</tool_call>\n{_ONE}',
        content='<tool_call>\n{"name": "fly", "arguments": {}}\n</tool_call>',
        calls=(_PARIS,),
    ),
    Sample("I would write <tool_call> and <tool_", content="I would write <tool_call> and <tool_"),
    Sample(f"{_ONE}\nThat is it.", content="That is it.", calls=(_PARIS,)),
    # cut
    Sample(
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Par',
        calls=(Call("get_weather", '{"city": "Par', ended=False),),
    ),
    Sample('<tool_call>\n{"name": "get_wea', content='<tool_call>\n{"name": "get_wea'),
]
