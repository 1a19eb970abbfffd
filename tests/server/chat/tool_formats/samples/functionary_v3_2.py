"""Raw answers of Functionary v3.2."""

from __future__ import annotations

import json

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})

SAMPLES = [
    Sample("all\nIt is >> 3.", content="It is >> 3."),
    Sample("It is sunny.", content="It is sunny."),
    Sample('get_weather\n{"city": "Paris"}', calls=(_PARIS,)),
    Sample(
        'all\nI look.>>>get_weather\n{"city": "Paris"}>>>get_weather\n{"city": "Paris"}',
        content="I look.",
        calls=(_PARIS, _PARIS),
    ),
    Sample("now\n{}", calls=(Call("now", {}),)),
    Sample(f"run\n{json.dumps({'code': CODE}, ensure_ascii=False)}", calls=(Call("run", {"code": CODE}),)),
    Sample("all\n>>>fly\n{}", content=">>>fly\n{}"),
    Sample('run\n{"code": "a', calls=(Call("run", '{"code": "a', ended=False),)),
    Sample("ru", content="ru"),
]
