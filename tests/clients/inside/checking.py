"""Named checks, run one after another; the last line printed has each one's outcome, "ok" or the error."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
from collections.abc import Callable
from typing import Any

URL, MODEL, KEY = (os.environ[f"SERVER_{name}"] for name in ("URL", "MODEL", "KEY"))
EMBEDDER, RERANKER = os.environ["SERVER_EMBEDDER"], os.environ["SERVER_RERANKER"]
HI = [{"role": "user", "content": "Say hi."}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_checks: list[Callable[[], Any]] = []


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    """Have `main` run it."""
    _checks.append(function)
    return function


def main() -> None:
    """Run all checks and print what came of them."""
    outcomes: dict[str, str] = {}
    for function in _checks:
        try:
            made = function()
            if inspect.iscoroutine(made):
                asyncio.run(made)
            outcomes[function.__name__] = "ok"
        except Exception as error:  # noqa: BLE001 -- any error is this check's outcome
            outcomes[function.__name__] = f"{type(error).__name__}: {error}"[:500]
    print(json.dumps(outcomes))


def raised(kind: type[Exception], function: Callable[[], Any]) -> Any:
    """Return the error that `function` raises."""
    try:
        function()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")
