"""The command line, `corral`: one file per command, imported only when it is called.

    program.py     parses, runs one command, turns errors into exit codes
    console.py     what people read (stderr) and what programs read (stdout)
    progress.py    progress of downloads, quantizations and loads
    obtain.py      from a reference to a file that can be served, with everything that is missing
    settings.py    the server's settings as flags

Nothing here loads llama.cpp.
"""

from __future__ import annotations

from server.cli.program import main

__all__ = ["main"]
