"""The command line, `corral`: one file per command, imported only when it is called.

Nothing here loads llama.cpp.
"""

from __future__ import annotations

from server.cli.program import main

__all__ = ["main"]
