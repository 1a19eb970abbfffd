"""Qwen3-Coder's raw answers."""

from __future__ import annotations

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_FUNCTION = "<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>"
_ONE = f"<tool_call>\n{_FUNCTION}\n</tool_call>"
_NOW = "<tool_call>\n<function=now>\n</function>\n</tool_call>"


def _run(*parameters: tuple[str, str]) -> str:
    written = "".join(f"<parameter={name}>\n{value}\n</parameter>\n" for name, value in parameters)
    return f"<tool_call>\n<function=run>\n{written}</function>\n</tool_call>"


SAMPLES = [
    Sample("It is a < b.", content="It is a < b."),
    Sample(_ONE, calls=(_PARIS,)),
    Sample(f"I look.\n{_ONE}\n{_ONE}\n{_NOW}", content="I look.", calls=(_PARIS, _PARIS, Call("now", {}))),
    Sample(
        _run(
            ("code", CODE),
            ("options", '{"dry": true, "tags": ["}", "</b>"]}'),
            ("fast", "False"),
            ("level", "None"),
        ),
        calls=(
            Call(
                "run",
                {"code": CODE, "options": {"dry": True, "tags": ["}", "</b>"]}, "fast": False, "level": None},
            ),
        ),
    ),
    Sample(
        _run(("code", ""), ("level", "2.5"), ("fast", "true")),
        calls=(Call("run", {"code": "", "level": 2.5, "fast": True}),),
    ),
    Sample(
        _run(("code", "5"), ("options", "{'dry': True}")),
        calls=(Call("run", {"code": "5", "options": {"dry": True}}),),
    ),
    Sample(_run(("code", "\n\n  a\n\n")), calls=(Call("run", {"code": "\n\n  a\n\n"}),)),
    Sample(
        "<tool_call><function=get_weather><parameter=city>Paris</parameter><parameter=days>3</parameter></function></tool_call>",
        calls=(Call("get_weather", {"city": "Paris", "days": 3}),),
    ),
    Sample(f"I look.\n{_FUNCTION}\n</tool_call>\nDone.", content="I look.Done.", calls=(_PARIS,)),
    Sample(
        f"<think>\nWell.\n</think>\n\n{_ONE}",
        thoughts="Well.",
        calls=(_PARIS,),
        marks=("<think>", "</think>"),
    ),
    Sample(
        f"<tool_call>\n<function=fly>\n</function>\n</tool_call>\n{_ONE}",
        content="<tool_call>\n<function=fly>\n</function>\n</tool_call>",
        calls=(_PARIS,),
    ),
    Sample(
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nPar\n",
        calls=(Call("get_weather", '{"city": "Par\\n', ended=False),),
    ),
    Sample("<tool_call>\n<function=get_wea", content="<tool_call>\n<function=get_wea"),
]
