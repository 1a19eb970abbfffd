"""GigaChat 3.1's raw answers."""

from __future__ import annotations

import json

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_NOW = Call("now", {})


def _call(name: str, arguments: str) -> str:
    return f'<|function_call|>{{"name": "{name}", "arguments": {arguments}}}<|message_sep|>'


_ONE = _call("get_weather", '{"city": "Paris"}')

SAMPLES = [
    Sample("It is a < b.", content="It is a < b."),
    Sample(_ONE, calls=(_PARIS,)),
    Sample(f"I look.{_ONE}", content="I look.", calls=(_PARIS,)),
    Sample(_call("now", "{}"), calls=(_NOW,)),
    Sample(
        _call("run", json.dumps({"code": CODE}, ensure_ascii=False)), calls=(Call("run", {"code": CODE}),)
    ),
    Sample(_ONE[: _ONE.index("<|message_sep|>")], calls=(_PARIS,)),
    Sample(
        _call("get_weather", '{"city": "Rome", "days": 3}').partition("Rome")[0] + "Ro",
        calls=(Call("get_weather", '{"city": "Ro', ended=False),),
    ),
]
