from __future__ import annotations

from typing import Any

import pytest

from models.errors import RequestError
from server.chat.content_parts import MEDIA, THOUGHT_FIELDS, joined_text, part_text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("", ""),
        ("a", "a"),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {}}], "a\nb"),
        ([{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}], "a\nb"),
        ([{"type": "refusal", "refusal": "no"}], "no"),
    ],
)
def test_text(content: Any, text: str) -> None:
    assert joined_text(content, "c") == text


def test_a_protocol_may_have_its_own_kinds_and_separator() -> None:
    parts = [{"type": "thinking", "thinking": "a"}, {"type": "reasoning_text", "text": "b"}]
    assert joined_text(parts, "c", fields=THOUGHT_FIELDS, separator="") == "ab"
    with pytest.raises(RequestError, match="'thinking'"):
        joined_text([{"type": "text", "text": "x"}], "c", fields=THOUGHT_FIELDS)


@pytest.mark.parametrize("kind", MEDIA)
def test_media_are_refused_by_name(kind: str) -> None:
    with pytest.raises(RequestError, match=kind) as caught:
        joined_text([{"type": "text", "text": "a"}, {"type": kind, kind: {}}], "messages[0].content")
    assert caught.value.param == "messages[0].content[1]"
    assert caught.value.code == "unsupported_parameter"
    assert MEDIA[kind] in caught.value.message


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({}, "p.type"),
        ({"type": None}, "p.type"),
        ({"type": ["text"]}, "p.type"),
        ({"type": "poem", "text": "a"}, "p.type"),
        ({"type": "text"}, "p.text"),
        ({"type": "text", "text": None}, "p.text"),
        ({"type": "text", "text": ["a"]}, "p.text"),
        ({"type": "refusal", "text": "a"}, "p.refusal"),
    ],
)
def test_other_parts_are_refused(part: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        part_text(part, "p")
    assert caught.value.param == param
