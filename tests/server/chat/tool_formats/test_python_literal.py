"""Literals as models write them: all that a grammar lets stand between quotes is read as it stands."""

from __future__ import annotations

import json

import pytest

from server.chat.tool_formats.grammar.parameter_schema import python_json
from server.chat.tool_formats.python_literal import python_literal
from server.chat.tool_formats.reading.argument_values import literal


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("control", [*map(chr, range(0x20)), "\x7f", "\x85", "\u2028", "\r\n"])
def test_a_string_keeps_every_character_between_its_quotes(quote: str, control: str) -> None:
    text = f"a{control}é {control}"
    assert python_literal(f"{quote}{text}{quote}") == text
    assert json.loads(python_json(f"{quote}{text}{quote}") or "null") == text
    assert literal(f"{quote}{text}{quote}") == text
    assert python_literal(f"[{quote}{text}{quote}, None]") == [text, None]


@pytest.mark.parametrize("text", ["", "a", "1 +", "f(1)", "{1, 2}", "b'x'", "(" * 200, "'a"])
def test_anything_else_is_no_literal(text: str) -> None:
    with pytest.raises(ValueError, match="no literal"):
        python_literal(text)
