"""Raw answers of Functionary v3.1."""

from __future__ import annotations

import json

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_ONE = '<function=get_weather>{"city": "Paris"}</function>'

SAMPLES = [
    Sample("It is a <function of b.", content="It is a <function of b."),
    Sample(_ONE, calls=(_PARIS,)),
    Sample(f"I look.{_ONE}{_ONE}", content="I look.", calls=(_PARIS, _PARIS)),
    Sample("<function=now>{}</function>", calls=(Call("now", {}),)),
    Sample("<function=now></function>", calls=(Call("now", {}),)),
    Sample(
        f"<function=run>\n{json.dumps({'code': CODE}, ensure_ascii=False)}\n</function>\nDone.",
        content="Done.",
        calls=(Call("run", {"code": CODE}),),
    ),
    Sample(f"<function=fly>{{}}</function>{_ONE}", content="<function=fly>{}</function>", calls=(_PARIS,)),
    Sample('<function=run>{"code": "a', calls=(Call("run", '{"code": "a', ended=False),)),
    Sample("<function=ru", content="<function=ru"),
]
