"""Kimi K3's raw answers."""

from __future__ import annotations

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_ROME = Call("get_weather", {"city": "Rome", "days": 3})
_NOW = Call("now", {})


def _parameter(key: str, value: str, kind: str = "string") -> str:
    return f'<|open|>argument key="{key}" type="{kind}"<|sep|>{value}<|close|>argument<|sep|>'


def _call(name: str, *parameters: str, number: int = 1) -> str:
    return f'<|open|>call tool="{name}" index="{number}"<|sep|>{"".join(parameters)}<|close|>call<|sep|>'


def _marked(*calls: str) -> str:
    return f"<|open|>tools<|sep|>{''.join(calls)}<|close|>tools<|sep|>"


_ONE = _call("get_weather", _parameter("city", "Paris"))
_TWO = _call("get_weather", _parameter("city", "Rome"), _parameter("days", "3", "number"), number=2)

SAMPLES = [
    Sample("<|open|>response<|sep|>It is a < b.<|close|>response<|sep|>", content="It is a < b."),
    Sample("It is a < b, [1] and {2}.", content="It is a < b, [1] and {2}."),
    Sample(_marked(_ONE), calls=(_PARIS,)),
    Sample(
        f"I look.\n{_marked(_ONE, _TWO, _call('now', number=3))}",
        content="I look.",
        calls=(_PARIS, _ROME, _NOW),
    ),
    Sample(
        _marked(
            _call(
                "run",
                _parameter("code", CODE),
                _parameter("options", '{"dry": true, "tags": ["}", "</b>"]}', "object"),
                _parameter("fast", "true", "boolean"),
                _parameter("level", "null", "null"),
            )
        ),
        calls=(
            Call(
                "run",
                {"code": CODE, "options": {"dry": True, "tags": ["}", "</b>"]}, "fast": True, "level": None},
            ),
        ),
    ),
    Sample(
        _marked(_call("run", _parameter("code", ""), _parameter("level", "2.5", "number"))),
        calls=(Call("run", {"code": "", "level": 2.5}),),
    ),
    Sample(_marked(_call("run", _parameter("code", "5"))), calls=(Call("run", {"code": "5"}),)),
    Sample(f"{_marked(_ONE)}\nDone.", content="Done.", calls=(_PARIS,)),
    Sample(_marked(_call("fly")), content=_marked(_call("fly"))),
    Sample('{"name": "get_weather", "arguments": {"city": "Paris"}}', calls=(_PARIS,)),
    Sample(
        f"<think>\nWell.\n</think>\n\n{_marked(_ONE)}",
        thoughts="Well.",
        calls=(_PARIS,),
        marks=("<think>", "</think>"),
    ),
    Sample(
        _marked(_TWO).partition("Rome")[0] + "Ro",
        calls=(Call("get_weather", '{"city": "Ro', ended=False),),
    ),
    Sample(_marked(_ONE).partition("eather")[0], content=_marked(_ONE).partition("eather")[0]),
    Sample(
        f"<|open|>response<|sep|>I look.<|close|>response<|sep|>{_marked(_ONE)}<|close|>message<|sep|>",
        content="I look.",
        calls=(_PARIS,),
    ),
]
