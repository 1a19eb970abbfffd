"""Solar Open's raw answers."""

from __future__ import annotations

import json

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_ROME = Call("get_weather", {"city": "Rome", "days": 3})
_NOW = Call("now", {})


def _call(name: str, arguments: str, number: int = 0) -> str:
    return (
        f"<|tool_call:begin|>id{number}<|tool_call:name|>{name}<|tool_call:args|>{arguments}<|tool_call:end|>"
    )


def _marked(*calls: str) -> str:
    return f"<|tool_calls|>{''.join(calls)}<|calls|>"


_ONE = _call("get_weather", '{"city": "Paris"}')
_TWO = _call("get_weather", '{"city": "Rome", "days": 3}', 1)

SAMPLES = [
    Sample("It is a < b, [1] and {2}.", content="It is a < b, [1] and {2}."),
    Sample(_marked(_ONE), calls=(_PARIS,)),
    Sample(
        f"I look.\n{_marked(_ONE, _TWO, _call('now', '{}', 2))}",
        content="I look.",
        calls=(_PARIS, _ROME, _NOW),
    ),
    Sample(
        _marked(
            _call("run", json.dumps({"code": CODE, "options": {"tags": ["}", "]"]}}, ensure_ascii=False))
        ),
        calls=(Call("run", {"code": CODE, "options": {"tags": ["}", "]"]}}),),
    ),
    Sample(
        _marked(_call("run", json.dumps(json.dumps({"code": "世界"})))),
        calls=(Call("run", {"code": "世界"}),),
    ),
    Sample(f"{_marked(_ONE)}\nDone.", content="Done.", calls=(_PARIS,)),
    Sample(_marked(_call("fly", "{}")), content=_marked(_call("fly", "{}")).rstrip("\n")),
    Sample('{"name": "get_weather", "arguments": {"city": "Paris"}}', calls=(_PARIS,)),
    Sample('```json\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n```', calls=(_PARIS,)),
    Sample(
        f"<|think|>Well.<|end|><|begin|>assistant{_marked(_ONE)}",
        thoughts="Well.",
        calls=(_PARIS,),
    ),
    Sample(
        _marked(_TWO).partition("Rome")[0] + "Ro",
        calls=(Call("get_weather", '{"city": "Ro', ended=False),),
    ),
    Sample(
        _marked(_ONE)[: _marked(_ONE).index("eather")], content=_marked(_ONE)[: _marked(_ONE).index("eather")]
    ),
]
