"""`python_literal`: the value of a literal in Python's notation, as models write it. Pure."""

from __future__ import annotations

import ast
import json
import re

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")


def python_literal(text: str) -> object:
    """Return the value, which JSON has, too. Raises ValueError for anything else.

    Strings may hold the line ends and other control characters that Python's must escape.
    """
    try:
        value = ast.literal_eval(_QUOTED.sub(lambda found: _escaped(found[0]), text.strip()))
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("it is no literal") from error
    return value


def _escaped(quoted: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", quoted)
