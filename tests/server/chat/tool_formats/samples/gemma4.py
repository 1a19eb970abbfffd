"""Gemma 4's raw answers."""

from __future__ import annotations

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_ONE = '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>'
_MARKS = ("<|channel>thought", "<channel|>")

SAMPLES = [
    Sample("It is a < b, {c: 1}.", content="It is a < b, {c: 1}."),
    Sample(_ONE, calls=(_PARIS,)),
    Sample(
        f'I look.{_ONE}<|tool_call>call:get_weather{{city:<|"|>Rome<|"|>,days:3}}<tool_call|>'
        "<|tool_call>call:now{}<tool_call|>",
        content="I look.",
        calls=(_PARIS, Call("get_weather", {"city": "Rome", "days": 3}), Call("now", {})),
    ),
    Sample(
        f'<|tool_call>call:run{{code:<|"|>{CODE}<|"|>,fast:true,level:None,'
        'options:{dry:false,tags:[<|"|>}<|"|>,1.5,[],{<|"|>a b<|"|>:<|"|><|"|>}]}}<tool_call|>',
        calls=(
            Call(
                "run",
                {
                    "code": CODE,
                    "fast": True,
                    "level": None,
                    "options": {"dry": False, "tags": ["}", 1.5, [], {"a b": ""}]},
                },
            ),
        ),
    ),
    Sample('call:get_weather{city:<|"|>Paris<|"|>}', calls=(_PARIS,)),
    Sample('<|tool_call>call:get_weather{"city": "Paris"}<tool_call|>', calls=(_PARIS,)),
    Sample(f"{_ONE}Done.", content="Done.", calls=(_PARIS,)),
    Sample("<|tool_call>call:fly{}<tool_call|>", content="<|tool_call>call:fly{}<tool_call|>"),
    Sample(f"<|channel>thought\nWell.\n<channel|>{_ONE}", thoughts="Well.", calls=(_PARIS,), marks=_MARKS),
    Sample("<|channel>thought\n<channel|>It rains.", content="It rains.", marks=_MARKS),
    Sample(
        '<|tool_call>call:get_weather{city:<|"|>Par',
        calls=(Call("get_weather", '{"city": "Par', ended=False),),
    ),
    Sample("<|tool_call>call:get_wea", content="<|tool_call>call:get_wea"),
]
