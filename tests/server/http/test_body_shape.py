from __future__ import annotations

from typing import Any

import pytest

from server.http.body_shape import shape_of


def test_a_chat_is_its_fields_and_lengths() -> None:
    body = {
        "model": "demo",
        "temperature": 0.5,
        "stream": True,
        "stop": ["secret"],
        "messages": [
            {"role": "user", "content": "secret"},
            {"role": "user", "content": [{"type": "text", "text": "secret"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "secret", "parameters": {"secret": 1}}}],
        "metadata": {"secret": "secret"},
    }
    shape = shape_of(body)
    assert shape == {
        "model": "demo",
        "temperature": 0.5,
        "stream": True,
        "stop": "<list of 1>",
        "messages": [
            {"role": "user", "content": "<6 characters>"},
            {"role": "user", "content": [{"type": "text", "text": "<6 characters>"}]},
        ],
        "tools": [
            {"type": "function", "function": {"name": "<6 characters>", "parameters": "<object of 1>"}}
        ],
        "metadata": "<object of 1>",
    }


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ({"prompt": [17, 4, 9]}, {"prompt": "<list of 3>"}),
        ({"prompt": [[17], [4]]}, {"prompt": "<list of 2>"}),
        ({"model": "x" * 65}, {"model": "<65 characters>"}),
        ({"model": "a\nb"}, {"model": "<3 characters>"}),
        ({"role": {"a": "secret"}}, {"role": {"a": "<6 characters>"}}),
        ("secret", "<6 characters>"),
        (None, None),
    ],
)
def test_other_forms(value: Any, shape: Any) -> None:
    assert shape_of(value) == shape


def test_it_is_bounded() -> None:
    deep: Any = "secret"
    for _ in range(100):
        deep = [{"a": deep}]
    assert "secret" not in str(shape_of(deep))
    wide = shape_of({f"k{i}": 1 for i in range(1000)})
    assert len(wide) == 65
    long = shape_of([{"a": 1}] * 1000)
    assert long[-1] == "<936 more>"
