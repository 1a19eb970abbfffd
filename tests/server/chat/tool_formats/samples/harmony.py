"""Harmony's raw answers."""

from __future__ import annotations

import json

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_THOUGHT = "<|channel|>analysis<|message|>Well.<|end|><|start|>assistant"
_CALL = '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris"}'

SAMPLES = [
    Sample("<|channel|>final<|message|>It is a < b.", content="It is a < b."),
    Sample("<|channel|>final<|message|>It rains.<|return|>", content="It rains."),
    Sample(f"{_THOUGHT}<|channel|>final<|message|>It rains.", thoughts="Well.", content="It rains."),
    Sample(
        "<|channel|>analysis<|message|>A.<|end|><|start|>assistant<|channel|>analysis<|message|>B.<|end|>",
        thoughts="A.\n\nB.",
    ),
    Sample(_CALL, calls=(_PARIS,)),
    Sample(f"{_CALL}<|call|>", calls=(_PARIS,)),
    Sample(f"{_THOUGHT}{_CALL}<|call|>", thoughts="Well.", calls=(_PARIS,)),
    Sample(
        f"{_THOUGHT}<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{_CALL}<|call|>",
        thoughts="Well.",
        content="I look.",
        calls=(_PARIS,),
    ),
    Sample(
        ' to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Paris"}<|call|>',
        calls=(_PARIS,),
    ),
    Sample(
        ' to=functions.get_weather<|channel|>analysis <|constrain|>json<|message|>{"city": "Paris"}',
        calls=(_PARIS,),
    ),
    Sample("<|channel|>commentary to=functions.now<|message|>{}<|call|>", calls=(Call("now", {}),)),
    Sample(
        "<|channel|>commentary to=functions.run <|constrain|>json<|message|>"
        + json.dumps({"code": CODE, "options": {"tags": ["}"]}}, ensure_ascii=False),
        calls=(Call("run", {"code": CODE, "options": {"tags": ["}"]}}),),
    ),
    Sample(
        "<|channel|>commentary to=fly<|message|>{}<|call|>",
        content="<|channel|>commentary to=fly<|message|>{}",
    ),
    Sample(
        " thinking<|end|><|start|>assistant<|channel|>final<|message|>Hi.",
        thoughts="thinking",
        content="Hi.",
        thinks=True,
    ),
    Sample(
        '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Par',
        calls=(Call("get_weather", '{"city": "Par', ended=False),),
    ),
    Sample("<|channel|>commentary to=functions.get_wea"),
]
