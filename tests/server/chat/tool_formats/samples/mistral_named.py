"""Raw answers of Mistral's newer format."""

from __future__ import annotations

import json

from tests.server.chat.tool_formats.sample import CODE, Call, Sample

_PARIS = Call("get_weather", {"city": "Paris"})
_ONE = '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}'

SAMPLES = [
    Sample("It is sunny [1].", content="It is sunny [1]."),
    Sample(_ONE, calls=(_PARIS,)),
    Sample(f"I look.{_ONE}{_ONE}", content="I look.", calls=(_PARIS, _PARIS)),
    Sample('[TOOL_CALLS]get_weather[CALL_ID]a1B2c3D4e[ARGS]{"city": "Paris"}', calls=(_PARIS,)),
    Sample("[TOOL_CALLS]now[ARGS]{}", calls=(Call("now", {}),)),
    Sample(
        f"[TOOL_CALLS]run[ARGS]{json.dumps({'code': CODE}, ensure_ascii=False)}",
        calls=(Call("run", {"code": CODE}),),
    ),
    Sample(f"[THINK]Well.[/THINK]{_ONE}", thoughts="Well.", calls=(_PARIS,), marks=("[THINK]", "[/THINK]")),
    Sample("[TOOL_CALLS]fly[ARGS]{}", content="[TOOL_CALLS]fly[ARGS]{}"),
    Sample(f"[TOOL_CALLS]fly[ARGS]{{}}{_ONE}", content="[TOOL_CALLS]fly[ARGS]{}", calls=(_PARIS,)),
    Sample('[TOOL_CALLS]run[ARGS]{"code": "a', calls=(Call("run", '{"code": "a', ended=False),)),
    Sample("[TOOL_CALLS]ru", content="[TOOL_CALLS]ru"),
]
