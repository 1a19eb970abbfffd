"""A small MCP server for the tests: `python mcp_example.py`, by standard input and output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

_WORD = {"type": "object", "properties": {"word": {"type": "string"}}}
_TOOLS = [
    {"name": "echo", "description": "Says it again", "inputSchema": _WORD},
    {"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "fail"},
    {"name": "die"},
    {"name": "hang"},
    {"name": "draw"},
    {"name": 7},
]


_waiting: dict[str, Callable[[], None]] = {}
"""The answers that wait for an answer of the client."""


def _write(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def _call(id_: int, name: str, arguments: dict[str, Any]) -> None:
    text = {"type": "text", "text": f"{os.environ.get('EXAMPLE', '')}{arguments.get('word', '')}"}
    if name == "echo":
        print("this is no JSON", flush=True)
        _write(method="notifications/progress", params={})
        _write(id=999, result={"content": []})  # of nobody's request
        _waiting[f"ping {id_}"] = lambda: _write(id=id_, result={"content": [text]})
        _write(id=f"ping {id_}", method="ping")
    elif name == "fail":
        _write(id=id_, result={"content": [{"type": "text", "text": "it is raining"}], "isError": True})
    elif name == "draw":
        image = {"type": "image", "data": "AA==", "mimeType": "image/png"}
        _write(id=id_, result={"content": [text, image], "structuredContent": {"n": 1}})
    elif name == "die":
        print("last words", file=sys.stderr, flush=True)
        sys.exit(3)
    elif name != "hang":
        _write(id=id_, error={"code": -32602, "message": f"no tool {name}"})


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "method" not in message:
            assert message["result"] == {}, message
            _waiting.pop(message["id"])()
            continue
        method, id_, params = message["method"], message.get("id"), message.get("params", {})
        if method == "initialize":
            assert params["protocolVersion"], params
            _write(id=id_, result={"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}})
        elif method == "tools/list":
            first = "cursor" not in params
            _write(
                id=id_, result={"tools": _TOOLS[:2], "nextCursor": "2"} if first else {"tools": _TOOLS[2:]}
            )
        elif method == "tools/call":
            _call(id_, params["name"], params["arguments"])


if __name__ == "__main__":
    main()
