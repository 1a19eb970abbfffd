"""The child process of a built-in tool: a call in by standard input, its result out.

A pattern may take for ever and a folder may be huge, and neither must hold up the server. A process can be
ended whatever it does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from server.toolbox.builtin.arguments import Arguments
from server.toolbox.builtin.files import edit_file, read_file, write_file
from server.toolbox.builtin.search import file_glob_search, grep_search
from server.toolbox.tool import ToolFailure

WORK: Mapping[str, Callable[[Arguments], dict[str, Any]]] = {
    "read_file": read_file,
    "write_file": write_file,
    "edit_file": edit_file,
    "file_glob_search": file_glob_search,
    "grep_search": grep_search,
}
"""The work of each tool."""


def main() -> None:
    """Read `{tool, arguments, cwd}` and write the result, or `{error}`."""
    call = json.load(sys.stdin)
    try:
        result = WORK[call["tool"]](Arguments(call["arguments"], call["cwd"]))
    except ToolFailure as error:
        result = {"error": str(error)}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
