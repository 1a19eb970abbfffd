from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import RequestError
from models.llamacpp.vocab import MAX_TEXT_BYTES
from server.ipc.constraint import MAX_CHARS, Constraint
from server.ipc.parts import MAX_ANSWER_CHARS, MAX_ANSWER_TOKENS
from server.openai.errors import BodyTooLarge
from server.openai.requests import body_limits
from server.openai.requests.body_limits import check_structure, is_small
from server.openai.requests.reading import GenerationRead, Purpose, ReadJob, read
from server.openai.requests.reading_process import READ_S
from server.openai.response import MAX_ANSWER_BYTES

HI = [{"role": "user", "content": "hi"}]
LONG = "a" * MAX_CHARS
KEYS = st.text(alphabet='a"\\,[', max_size=4)
JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a,[]{}"\\:é\n', max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='a"\\,[', max_size=4), inner)
    ),
    max_leaves=20,
)


def n_containers(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, list | dict) + sum(map(n_containers, inner))


def n_commas(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(0, len(inner) - 1) + sum(map(n_commas, inner))


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, list | dict) + max(map(depth, inner), default=0)


@settings(deadline=None)
@given(JSON, st.integers(1, 9), st.booleans())
def test_what_strings_hold_is_no_structure(value: Any, slice_bytes: int, ascii_only: bool) -> None:
    """The count is exact wherever the body is cut into slices, also within an escape."""
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    scan = body_limits._Scan()
    for start in range(0, len(body), slice_bytes):
        scan.feed(body[start : start + slice_bytes])
    assert scan._n_containers == n_containers(value)
    assert scan._n_elements == n_containers(value) + n_commas(value)
    assert scan._depth == 0


@pytest.mark.parametrize(
    ("limit", "code", "error"),
    [
        ("MAX_ELEMENTS", "too_many_elements", BodyTooLarge),
        ("MAX_CONTAINERS", "too_many_elements", BodyTooLarge),
        ("MAX_DEPTH", "nested_too_deep", RequestError),
    ],
)
def test_each_limit_is_reached_exactly(
    limit: str, code: str, error: type[RequestError], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MAX_ELEMENTS", "MAX_CONTAINERS", "MAX_DEPTH"):
        monkeypatch.setattr(body_limits, name, 1_000 if name != limit else 10)
    monkeypatch.setattr(body_limits, "_separators", lambda _: 1_000_000)
    value: Any = [[1]] * 9 if limit == "MAX_CONTAINERS" else [1] * 10
    if limit == "MAX_DEPTH":
        value = 1
        for _ in range(10):
            value = [value]
    check_structure(json.dumps(value).encode())
    with pytest.raises(RequestError) as caught:
        check_structure(json.dumps([[value]] if limit != "MAX_ELEMENTS" else [1] * 11).encode())
    assert type(caught.value) is error
    assert caught.value.code == code
    assert "10 " in caught.value.message


def test_text_may_have_any_number_of_commas() -> None:
    check_structure(json.dumps({"prompt": "a, [b], {c}, " * 200_000}).encode())


@pytest.mark.parametrize(
    ("body", "small"),
    [
        (b'{"prompt":"a"}', True),
        (b'{"prompt":"' + b"a" * 64_000 + b'"}', True),
        (b'{"prompt":"' + b"a" * 66_000 + b'"}', False),
        (b"[" + b"1," * 5_000, False),
        (b"[" * 5_000, False),
        (b"{" * 5_000, False),
    ],
)
def test_small_bodies(body: bytes, small: bool) -> None:
    assert is_small([body]) == is_small([body[:9], body[9:]]) == small


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("values in it", body_limits.MAX_ELEMENTS),
        ("arrays and objects in it", body_limits.MAX_CONTAINERS),
        ("arrays and objects within each other", body_limits.MAX_DEPTH),
        ("bytes of one prompt", body_limits.MAX_PROMPT_BYTES),
        ("bytes of a text that is tokenized", MAX_TEXT_BYTES),
        ("body of `/admin/adapters`", body_limits.INLINE_BYTES),
        ("tokens that `/tokenize` tells", MAX_ANSWER_TOKENS),
        ("characters that `/detokenize` tells", MAX_ANSWER_CHARS),
        ("bytes of an answer", MAX_ANSWER_BYTES),
        ("seconds of computing to parse a body", READ_S),
    ],
)
def test_the_page_of_limits_has_them(row: str, limit: float) -> None:
    page = (Path(__file__).parents[4] / "docs" / "limits.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith(f"| {row}"))
    assert re.search(rf"\b{re.escape(f'{limit:,.0f}')}\b", line.split("|")[2])


@pytest.mark.parametrize(
    ("purpose", "fields", "param"),
    [
        ("chat", {"messages": HI, "grammar": f"{LONG}a"}, "grammar"),
        ("chat", {"messages": HI, "response_format": {"type": "regex", "value": f"{LONG}a"}}, None),
        ("text", {"prompt": "hi", "json_schema": {"const": LONG}}, "json_schema"),
        (
            "response",
            {
                "model": "m",
                "input": "hi",
                "text": {"format": {"type": "json_schema", "name": "n", "schema": {"const": LONG}}},
            },
            "text.format.schema",
        ),
        (
            "messages",
            {
                "model": "m",
                "max_tokens": 5,
                "messages": HI,
                "output_config": {"format": {"type": "json_schema", "schema": {"const": LONG}}},
            },
            "output_config.format.schema",
        ),
    ],
)
def test_a_form_that_is_too_long_is_refused_where_it_is_read(
    purpose: Purpose, fields: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(
        RequestError, match=r"it has 1,000,0\d\d characters; the limit is 1,000,000"
    ) as caught:
        read(ReadJob(purpose=purpose, request_id="r"), json.dumps(fields).encode())
    assert caught.value.param == (param or "response_format.value")
    assert caught.value.code == "unsupported_schema"


def test_a_form_of_the_greatest_length_is_read() -> None:
    body = json.dumps({"messages": HI, "regex": LONG}).encode()
    found = read(ReadJob(purpose="chat", request_id="r"), body)
    assert isinstance(found, GenerationRead)
    assert found.generates[0].constraint == Constraint(kind="regex", text=LONG, param="regex")
