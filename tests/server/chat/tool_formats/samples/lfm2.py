"""LFM2's raw answers."""

from __future__ import annotations

import json

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_ONE = '<|tool_call_start|>[get_weather(city="Paris")]<|tool_call_end|>'

SAMPLES = [
    Sample("It is f(a, b) [1].", content="It is f(a, b) [1]."),
    Sample("[1, 2] is a list.", content="[1, 2] is a list."),
    Sample(_ONE, calls=(_PARIS,)),
    Sample(
        "I look.<|tool_call_start|>[get_weather(city='Paris'), get_weather(city=\"Rome\", days=3), now()]"
        "<|tool_call_end|>",
        content="I look.",
        calls=(_PARIS, Call("get_weather", {"city": "Rome", "days": 3}), Call("now", {})),
    ),
    Sample(
        f"<|tool_call_start|>[run(code={json.dumps(CODE, ensure_ascii=False)}, options={{'dry': true, "
        f'"tags": [")", None]}}, fast=True, level=null)]<|tool_call_end|>',
        calls=(
            Call(
                "run",
                {"code": CODE, "options": {"dry": True, "tags": [")", None]}, "fast": True, "level": None},
            ),
        ),
    ),
    Sample(
        "<|tool_call_start|>[run(code='a\n\"b\" it\\'s', level=2.5)]<|tool_call_end|>",
        calls=(Call("run", {"code": 'a\n"b" it\'s', "level": 2.5}),),
    ),
    Sample(f"{_ONE}\nDone.", content="Done.", calls=(_PARIS,)),
    Sample('[get_weather(city="Paris")]', calls=(_PARIS,)),
    Sample(
        "<|tool_call_start|>[fly()]<|tool_call_end|>", content="<|tool_call_start|>[fly()]<|tool_call_end|>"
    ),
    Sample(
        f"<think>\nWell.\n</think>\n\n{_ONE}",
        thoughts="Well.",
        calls=(_PARIS,),
        marks=("<think>", "</think>"),
    ),
    Sample(
        '<|tool_call_start|>[get_weather(city="Paris", da',
        calls=(Call("get_weather", '{"city": "Paris"', ended=False),),
    ),
    Sample("<|tool_call_start|>[get_wea", content="<|tool_call_start|>[get_wea"),
]
