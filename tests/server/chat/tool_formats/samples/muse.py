"""Muse's raw answers."""

from __future__ import annotations

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_THOUGHT = " to=self<|message|>Well.<|eom|><|start|>assistant"


def _call(name: str, **parameters: str) -> str:
    written = "".join(
        f'<atem:parameter name="{key}">{value}</atem:parameter>\n' for key, value in parameters.items()
    )
    invoke = f'<atem:invoke name="{name}">\n{written}</atem:invoke>\n'
    return f" to={name}<|message|><atem:function_calls>\n{invoke}</atem:function_calls>"


_ONE = _call("get_weather", city="Paris")

SAMPLES = [
    Sample(" to=user<|message|>It is a < b.", content="It is a < b."),
    Sample(f"{_THOUGHT} to=user<|message|>It rains.<|eot|>", thoughts="Well.", content="It rains."),
    Sample(_ONE, calls=(_PARIS,)),
    Sample(f"{_THOUGHT}{_ONE}<|eom|>", thoughts="Well.", calls=(_PARIS,)),
    Sample(
        f"{_ONE}<|eom|><|start|>assistant{_call('get_weather', city='Rome', days='3')}<|eom|>"
        f"<|start|>assistant{_call('now')}<|eom|><|start|>assistant to=user<|message|>I look.",
        content="I look.",
        calls=(_PARIS, Call("get_weather", {"city": "Rome", "days": 3}), Call("now", {})),
    ),
    Sample(
        _call("run", code=CODE, options='{"tags": ["}"]}', fast="true", level="null"),
        calls=(Call("run", {"code": CODE, "options": {"tags": ["}"]}, "fast": True, "level": None}),),
    ),
    Sample(_ONE.partition("ris")[0], calls=(Call("get_weather", '{"city": "Pa', ended=False),)),
]
