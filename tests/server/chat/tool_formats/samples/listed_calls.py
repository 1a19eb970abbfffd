"""The raw answers of all formats that write one JSON list of calls behind a mark."""

from __future__ import annotations

import json

from tests.server.chat.tool_formats.sample import CODE, Call, Sample


def samples(opening: str, closing: str) -> list[Sample]:
    """Return the samples of a format with these marks."""
    paris = Call("get_weather", {"city": "Paris"})
    one = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
    run = json.dumps({"name": "run", "arguments": {"code": CODE}}, ensure_ascii=False)
    return [
        Sample("It is sunny [1].", content="It is sunny [1]."),
        Sample(f"{opening}[{one}]{closing}", calls=(paris,)),
        Sample(f"I look.{opening}[{one}, {one}]{closing}", content="I look.", calls=(paris, paris)),
        Sample(f'{opening}[{{"name": "now", "arguments": {{}}}}]{closing}', calls=(Call("now", {}),)),
        Sample(f"{opening} [\n{run}\n]\n{closing}", calls=(Call("run", {"code": CODE}),)),
        Sample(f'{opening}[{one[:-1]}, "id": "a1B2c3D4e"}}]{closing}', calls=(paris,)),
        Sample(f"[{one}]", calls=(paris,)),
        Sample(one, calls=(paris,)),
        Sample("[1, 2]", content="[1, 2]"),
        Sample(
            f'{opening}[{{"name": "fly", "arguments": {{}}}}]',
            content=f'{opening}[{{"name": "fly", "arguments": {{}}}}]',
        ),
        Sample(
            f'{opening}[{one}, {{"name": "run", "arguments": {{"code": "a',
            calls=(paris, Call("run", '{"code": "a', ended=False)),
        ),
        Sample(f'{opening}[{{"name": "ru', content=f'{opening}[{{"name": "ru'),
    ]
