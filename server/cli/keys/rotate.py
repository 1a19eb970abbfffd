"""The command `corral keys rotate`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")],
    *,
    overlap: Annotated[
        str, typer.Option(metavar="SPAN", help="Time for which the key as it was stays good: 30m, 1h, 2d.")
    ] = "0s",
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN|DATE", help="New end of the key: 30d, 12h, 2026-12-31.  [default: as it was]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replace a key by a new one with the same name, rights, limits and usage, and print it."""
    import time

    from server.cli.keys.output import key_file, print_secret
    from server.keys.times import read_moment, read_span

    end = None if expires is None else read_moment(expires, time.time(), "--expires")
    key, secret = key_file().rotate(name, read_span(overlap, "--overlap"), end)
    print_secret(key, secret, as_json=as_json)
