from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

import pytest

from models.secrets import HIDDEN, Redactor
from server.cli.json_log import JsonFormatter

SECRET = 'pass"word\\'


def formatted(message: str, *arguments: object, **attributes: Any) -> dict[str, Any]:
    record = logging.LogRecord("corral.x", logging.WARNING, "", 0, message, arguments, None)
    record.__dict__.update(attributes)
    line = JsonFormatter(Redactor([SECRET])).format(record)
    assert "\n" not in line
    made: dict[str, Any] = json.loads(line)
    return made


def test_a_line_is_an_object() -> None:
    line = formatted("%d of\n%s", 3, "é", fields={"status": 200, "model": "demo", "level": "mine"})
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    assert line == {
        "level": "warning",
        "logger": "corral.x",
        "message": "3 of\né",
        "status": 200,
        "model": "demo",
    }


def test_a_traceback_is_a_field() -> None:
    try:
        raise ValueError(f"it was {SECRET}")
    except ValueError as error:
        line = formatted("bad", exc_info=(type(error), error, error.__traceback__))
    assert line["exception"].endswith(f"ValueError: it was {HIDDEN}")


@pytest.mark.parametrize(
    "text", [f"a {SECRET} b", 'see https://x/?token=abcdef\\" next', 'Bearer abcdefghijkl"\\', f'"{SECRET}"']
)
def test_secrets_are_hidden_and_the_line_stays_json(text: str) -> None:
    line = formatted("%s", text, fields={"path": text})
    for shown in (line["message"], line["path"]):
        assert HIDDEN in shown
        assert SECRET not in shown
        assert "abcdef" not in shown
