"""Llama 3's raw answers."""

from __future__ import annotations

import json

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_ONE = '{"name": "get_weather", "parameters": {"city": "Paris"}}'

SAMPLES = [
    Sample("It is sunny.", content="It is sunny."),
    Sample(_ONE, calls=(_PARIS,)),
    Sample(f"{_ONE}; {_ONE}", calls=(_PARIS, _PARIS)),
    Sample(f"<|python_tag|>{_ONE}", calls=(_PARIS,)),
    Sample('{"type": "function", "name": "now", "parameters": {}}', calls=(Call("now", {}),)),
    Sample(
        '<|python_tag|>get_weather.call(city="Paris", days=3)',
        calls=(Call("get_weather", {"city": "Paris", "days": 3}),),
    ),
    Sample(
        "<|python_tag|>run.call(code='a(\"b\", [1])', fast=True, level=None)",
        calls=(Call("run", {"code": 'a("b", [1])', "fast": True, "level": None}),),
    ),
    Sample("<|python_tag|>now.call()", calls=(Call("now", {}),)),
    Sample(
        json.dumps({"name": "run", "parameters": {"code": CODE}}, ensure_ascii=False),
        calls=(Call("run", {"code": CODE}),),
    ),
    Sample('{"name": "Bob", "parameters": {}}', content='{"name": "Bob", "parameters": {}}'),
    Sample("<|python_tag|>print(3)", content="<|python_tag|>print(3)"),
    Sample(f"I look.<|python_tag|>{_ONE}", content="I look.", calls=(_PARIS,)),
    Sample('{"name": "run", "parameters": {"code": "a', calls=(Call("run", '{"code": "a', ended=False),)),
    Sample('{"name": "ru', content='{"name": "ru'),
]
