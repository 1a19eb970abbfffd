"""The command `corral keys remove`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")]) -> None:
    """Remove a key: no request begins with it any more, while answers that are being made end as they would.

    A server that asked for keys goes on asking, also when the last one is removed.
    """
    from server.cli.console import say
    from server.cli.keys.output import key_file

    file = key_file()
    file.remove(name)
    say(f"removed the key {name}")
    if not file.read():
        say(f"no keys are left, and servers ask for one still; to serve without keys, delete {file.path}")
