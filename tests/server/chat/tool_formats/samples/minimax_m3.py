"""MiniMax M3's raw answers."""

from __future__ import annotations

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_TOKEN = "]<]minimax[>["


def _element(key: str, *inner: str) -> str:
    return f"{_TOKEN}<{key}>{''.join(inner)}{_TOKEN}</{key}>"


def _call(name: str, *elements: str) -> str:
    return f'{_TOKEN}<invoke name="{name}">{"".join(elements)}{_TOKEN}</invoke>\n'


def _marked(*calls: str) -> str:
    return f"{_TOKEN}<tool_call>\n{''.join(calls)}{_TOKEN}</tool_call>"


_ONE = _marked(_call("get_weather", _element("city", "Paris")))

SAMPLES = [
    Sample("It is a < b, [1] and ]<].", content="It is a < b, [1] and ]<]."),
    Sample(_ONE, calls=(_PARIS,)),
    Sample(
        "I look."
        + _marked(
            _call("get_weather", _element("city", "Paris")),
            _call("get_weather", _element("city", "Rome"), _element("days", "3")),
            _call("now"),
        ),
        content="I look.",
        calls=(_PARIS, Call("get_weather", {"city": "Rome", "days": 3}), Call("now", {})),
    ),
    Sample(
        _marked(
            _call(
                "run",
                _element("code", CODE),
                _element(
                    "options",
                    _element("dry", "true"),
                    _element(
                        "tags",
                        _element("item", "</b>"),
                        _element("item", "2"),
                        _element("item", _element("a", "b")),
                        _element("item", _element("item", "c")),
                    ),
                ),
                _element("level", "2.5"),
            )
        ),
        calls=(
            Call(
                "run",
                {
                    "code": CODE,
                    "options": {"dry": True, "tags": ["</b>", 2, {"a": "b"}, ["c"]]},
                    "level": 2.5,
                },
            ),
        ),
    ),
    Sample(
        _marked(_call("run", _element("code", ""), _element("options", _element("tags")))),
        calls=(Call("run", {"code": "", "options": {"tags": []}}),),
    ),
    Sample(f"{_ONE}\nDone.", content="Done.", calls=(_PARIS,)),
    Sample(_marked(_call("fly")), content=_marked(_call("fly"))),
    Sample(
        f"<mm:think>Well.</mm:think>{_ONE}",
        thoughts="Well.",
        calls=(_PARIS,),
        marks=("<mm:think>", "</mm:think>"),
    ),
    Sample(_ONE.partition("ris")[0], calls=(Call("get_weather", '{"city": "Pa', ended=False),)),
    Sample(_ONE.partition("eather")[0], content=_ONE.partition("eather")[0]),
]
